import base64
import json
import math
import random
import socket
import string

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured

from django_jwtauth import sessions
from django_jwtauth.claims import Claims
from django_jwtauth.errors import ExpiredTokenError, InvalidTokenError, TokenError
from django_jwtauth.issuers.claim_rules import check_current
from django_jwtauth.jose.encoding import b64url_decode, b64url_encode, encode_id, new_id
from django_jwtauth.jose.key_parsing import ALGORITHMS
from django_jwtauth.jose.keys import Key
from django_jwtauth.process.memory import MEAN_LENGTH, TokenCache
from django_jwtauth.tokens import access as tokens
from django_jwtauth.tokens.access import MAXIMUM_LENGTH, TokenCodec, get_codec
from tests.support import keys

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


@pytest.fixture(params=ALGORITHMS)
def any_key(request):
    return keys.key(request.param)


@pytest.fixture(params=keys.FAST)
def key(request):
    return keys.key(request.param)


@pytest.fixture
def codec(key):
    return keys.codec(key)


@pytest.fixture
def token(key):
    return keys.compact(key, keys.header(key), keys.claims())


def refuses(codec, token):
    """Whether decode refuses a text by the one error for what is not authentic. Any other error ends the test."""
    try:
        codec.decode(token)
    except InvalidTokenError:
        return True
    return False


class TestEncode:
    def test_what_was_encoded_is_decoded(self, any_key):
        codec = keys.codec(any_key)
        assert codec.decode(codec.encode(keys.claims(role="ä"))) == Claims(
            iss=keys.ISSUER,
            sub="1",
            aud=(keys.AUDIENCE,),
            exp=keys.NOW + 600,
            iat=keys.NOW,
            jti=keys.JTI,
            sid=keys.SID,
            extra={"role": "ä"},
        )

    def test_the_header_names_algorithm_key_and_type(self, any_key):
        header, claims, _ = keys.codec(any_key).encode(keys.claims()).split(".")
        assert json.loads(b64url_decode(header)) == {"alg": any_key.algorithm, "kid": any_key.kid, "typ": "at+jwt"}
        assert json.loads(b64url_decode(claims)) == keys.claims()

    def test_the_json_is_compact_and_in_ascii(self, codec):
        header, claims, _ = codec.encode({"iss": keys.ISSUER, "name": "ä, b"}).split(".")
        assert b64url_decode(claims) == rb'{"iss":"https://id.example.com","name":"\u00e4, b"}'
        assert b" " not in b64url_decode(header)

    @pytest.mark.parametrize(
        "text",
        [
            "José",
            "日本",
            "\U0001f600",
            "ÿþ",
            "\x7f",
            "a?b>c~d\x7f",
            "https://x/?a=b",
            '"\\?"',
            "\\u003f",
            "\0\n",
            "<&>'",
        ],
    )
    def test_a_browser_reads_header_and_claims_with_atob(self, text):
        key = Key.from_dict(keys.entry("HS256", KID=text if text.isprintable() else "k"))
        codec = keys.codec(key)
        for shift in range(3):
            claims = keys.claims(**{"x" * shift: text, text: [text]})
            token = codec.encode(claims)
            # atob takes no - and _, wants no padding, and returns a character for each byte.
            for segment, content in zip(token.split("."), (keys.header(key), claims), strict=False):
                standard = base64.b64decode(segment + "=" * (-len(segment) % 4), validate=True)
                assert json.loads(standard.decode("latin-1")) == content
            assert codec.decode(token).extra[text] == (text,)

    @pytest.mark.parametrize("text", ["\ud800", "\ude00\ud83d"])
    def test_a_lone_surrogate_is_not_written(self, codec, text):
        for claims in ({"x": text}, {text: 1}, {"x": [{"y": ["\U0001f600", text]}]}):
            with pytest.raises(ValueError, match="surrogates"):
                codec.encode(keys.claims(**claims))

    def test_the_first_key_that_can_sign_signs(self):
        public = Key.from_dict(keys.public_entry("ES256"))
        token = keys.codec(public, keys.key("EdDSA"), keys.key("HS256")).encode(keys.claims())
        assert json.loads(b64url_decode(token.partition(".")[0]))["alg"] == "EdDSA"

    def test_no_token_of_another_issuer_is_signed(self):
        other = keys.issuer(keys.key("HS256"), iss="other")
        codec = TokenCodec(keys.issuer(keys.key("HS256")), {"other": other})
        for iss in ("other", "unknown"):
            with pytest.raises(ValueError, match=r"^Only tokens of our own ISSUER are signed\.$"):
                codec.encode(keys.claims(iss=iss))

    def test_a_ring_without_a_key_that_can_sign_says_so(self):
        with pytest.raises(ValueError, match=r"^No key of SIGNING_KEYS can sign\.$"):
            keys.codec(Key.from_dict(keys.public_entry("ES256"))).encode(keys.claims())

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_numbers_that_are_not_json_are_not_written(self, codec, value):
        with pytest.raises(ValueError, match="JSON"):
            codec.encode(keys.claims(number=value))

    def test_no_token_is_written_that_would_not_be_read(self, codec):
        lengths, refusals = [], []
        for size in range(5700, 6000):
            try:
                token = codec.encode(keys.claims(padding="x" * size))
            except ValueError as error:
                refusals.append(str(error))
            else:
                lengths.append(len(token))
                assert codec.decode(token).extra["padding"] == "x" * size
        assert max(lengths) in range(MAXIMUM_LENGTH - 2, MAXIMUM_LENGTH + 1)
        assert len(lengths) + len(refusals) == 300
        longer = f"{MAXIMUM_LENGTH + 1} characters", f"{MAXIMUM_LENGTH + 2} characters"
        assert refusals[0].startswith(tuple(f"The token has {text}" for text in longer))
        assert refusals[0].endswith(" characters and may have 8192. Use fewer claims.")

    def test_no_token_is_written_that_is_nested_too_deep_to_be_read(self, codec):
        deep = 1
        for depth in range(1, 130):
            deep = [deep]
            if depth < 128:
                assert codec.decode(codec.encode(keys.claims(deep=deep)))
            else:
                with pytest.raises(ValueError, match="nested deeper than 128"):
                    codec.encode(keys.claims(deep=deep))

    def test_256_arrays_and_objects_are_read_and_written_and_no_more(self, codec, key):
        fits, too_many = ([[]] * 254, [[]] * 255)
        assert len(codec.decode(codec.encode(keys.claims(x=fits))).extra["x"]) == 254
        with pytest.raises(ValueError, match="over 256 arrays and objects"):
            codec.encode(keys.claims(x=too_many))
        assert refuses(codec, keys.compact(key, keys.header(key), keys.claims(x=too_many)))

    def test_no_token_is_written_whose_header_is_too_long_to_be_read(self):
        lengths = []
        for size in range(690, 740):
            codec = keys.codec(Key.from_dict(keys.entry("HS256", KID="k" * size)))
            try:
                token = codec.encode(keys.claims())
            except ValueError as error:
                assert str(error).endswith(" characters and may have 1024. Shorten the KID.")  # noqa: PT017
            else:
                lengths.append(token.index("."))
                assert codec.decode(token)
        assert max(lengths) in range(1022, 1025)
        assert len(lengths) < 50


class TestCompactForm:
    @pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
    def test_any_other_number_of_segments_than_three_is_refused(self, codec, token, count):
        segments = token.split(".")
        assert refuses(codec, ".".join((segments * 2)[:count]))

    @pytest.mark.parametrize("text", ["", ".", "..", "...", " ", "a..b", "null", "0"])
    def test_empty_segments_are_refused(self, codec, text):
        assert refuses(codec, text)

    @pytest.mark.parametrize("empty", [0, 1, 2])
    def test_a_token_with_one_segment_emptied_is_refused(self, codec, token, empty):
        segments = token.split(".")
        segments[empty] = ""
        assert refuses(codec, ".".join(segments))

    @pytest.mark.parametrize("segment", [0, 1, 2])
    @pytest.mark.parametrize(
        "character", ['"', "{", "}", "'", "+", "/", "=", "==", "\r", "\n", "\0", " ", "~", "é", "\uff21", "\ud800"]
    )
    def test_a_character_outside_the_alphabet_is_refused_wherever_it_stands(self, codec, token, segment, character):
        segments = token.split(".")
        for at in (0, 1, len(segments[segment])):
            text = segments[segment][:at] + character + segments[segment][at:]
            assert refuses(codec, ".".join([*segments[:segment], text, *segments[segment + 1 :]]))

    @pytest.mark.parametrize("around", ["{} ", " {}", "{}\n", "\ufeff{}", "Bearer {}", '"{}"', "{}.", ".{}", "{}\0"])
    def test_nothing_may_stand_around_a_token(self, codec, token, around):
        assert refuses(codec, around.format(token))

    @pytest.mark.parametrize("segment", [0, 1, 2])
    def test_right_padding_is_refused(self, codec, token, segment):
        segments = token.split(".")
        segments[segment] += "=" * (-len(segments[segment]) % 4 or 4)
        assert refuses(codec, ".".join(segments))

    def test_the_json_serializations_are_refused(self, codec, token):
        protected, payload, signature = token.split(".")
        flattened = {"protected": protected, "payload": payload, "signature": signature}
        general = {"payload": payload, "signatures": [{"protected": protected, "signature": signature}]}
        assert refuses(codec, json.dumps(flattened))
        assert refuses(codec, json.dumps(general))

    def test_unused_bits_of_a_last_character_must_be_zero(self, codec, key, token):
        header, claims, signature = token.split(".")
        unused = {2: 4, 3: 2}
        changed = 0
        for position, text in enumerate((header, claims, signature)):
            for bits in range(1, 2 ** unused.get(len(text) % 4, 0)):
                segments = [header, claims, signature]
                segments[position] = text[:-1] + ALPHABET[ALPHABET.index(text[-1]) | bits]
                assert refuses(codec, ".".join(segments))
                changed += 1
        assert changed

    def test_unused_bits_of_a_signed_segment_must_be_zero(self, codec, key):
        # The signature is right for the text as it stands, so only the reading of the segment can refuse it.
        header, claims = keys.segment(keys.header(key)), keys.segment(keys.claims(padding="x"))
        texts = [(keys.segment(keys.header(key, padding="x" * size)), claims) for size in range(3)] + [
            (header, keys.segment(keys.claims(padding="x" * size))) for size in range(3)
        ]
        changed = 0
        for pair in texts:
            for position in (0, 1):
                if len(pair[position]) % 4:
                    loose = list(pair)
                    loose[position] = loose[position][:-1] + ALPHABET[ALPHABET.index(loose[position][-1]) + 1]
                    signing_input = ".".join(loose)
                    assert refuses(codec, f"{signing_input}.{keys.segment(key.sign(signing_input.encode()))}")
                    changed += 1
        assert changed > 4

    def test_a_token_of_8192_characters_is_read_and_one_of_8193_is_not(self):
        found = {}
        for kid in ("k", "kid", "kid-k"):
            key = Key.from_dict(keys.entry("HS256", KID=kid))
            for size in range(5800, 6000):
                token = keys.compact(key, keys.header(key), keys.claims(padding="x" * size))
                found[len(token)] = (key, token)
        assert keys.codec(found[8192][0]).decode(found[8192][1])
        assert refuses(keys.codec(found[8193][0]), found[8193][1])

    def test_a_header_of_1024_characters_is_read_and_one_of_1025_is_not(self, codec, key):
        found = {}
        for size in range(600, 760):
            header, claims = keys.header(key, padding="x" * size), keys.claims()
            found[len(keys.segment(header))] = keys.compact(key, header, claims)
        assert codec.decode(found[1024])
        assert refuses(codec, found[min(length for length in found if length > 1024)])

    @pytest.mark.parametrize("text", ["A" * 1_000_000, "A" * 500_000 + "." + "A" * 500_000 + ".A", "." * 1_000_000])
    def test_a_megabyte_is_refused(self, codec, text):
        assert refuses(codec, text)

    @pytest.mark.parametrize("value", [None, 5, b"", b"a.b.c"])
    def test_what_is_no_text_is_refused(self, codec, value):
        assert refuses(codec, value)


class TestJson:
    @pytest.mark.parametrize("content", ["[]", '"text"', "1", "1.5", "null", "true", "", " ", "{", "{}}", "{},", "nul"])
    def test_what_is_no_object_is_refused(self, codec, key, content):
        assert refuses(codec, keys.compact(key, content, keys.claims()))
        assert refuses(codec, keys.compact(key, keys.header(key), content))

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
    def test_another_encoding_than_utf_8_and_a_byte_order_mark_are_refused(self, codec, key, encoding):
        header, claims = (json.dumps(part).encode(encoding) for part in (keys.header(key), keys.claims()))
        assert refuses(codec, keys.compact(key, header, keys.claims()))
        assert refuses(codec, keys.compact(key, keys.header(key), claims))

    @pytest.mark.parametrize("invalid", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe4"])
    def test_invalid_utf_8_is_refused(self, codec, key, invalid):
        header = json.dumps(keys.header(key, name="?")).encode().replace(b"?", invalid)
        claims = json.dumps(keys.claims(name="?")).encode().replace(b"?", invalid)
        assert refuses(codec, keys.compact(key, header, keys.claims()))
        assert refuses(codec, keys.compact(key, keys.header(key), claims))

    @pytest.mark.parametrize("name", ["alg", "kid", "typ"])
    def test_a_header_with_a_member_twice_is_refused(self, codec, key, name):
        header = json.dumps(keys.header(key))
        twice = header[:-1] + f', "{name}": {json.dumps(keys.header(key)[name])}}}'
        assert json.loads(twice) == keys.header(key)
        assert refuses(codec, keys.compact(key, twice, keys.claims()))

    @pytest.mark.parametrize("name", keys.claims())
    def test_a_claim_twice_is_refused(self, codec, key, name):
        twice = json.dumps(keys.claims())[:-1] + f', "{name}": {json.dumps(keys.claims()[name])}}}'
        assert json.loads(twice) == keys.claims()
        assert refuses(codec, keys.compact(key, keys.header(key), twice))

    def test_a_member_twice_is_refused_in_an_inner_object_and_under_an_escaped_name(self, codec, key):
        for extra in ('"a": {"b": 1, "b": 1}', '"a": 1, "\\u0061": 1'):
            twice = f"{json.dumps(keys.claims())[:-1]}, {extra}}}"
            assert refuses(codec, keys.compact(key, keys.header(key), twice))

    @pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
    def test_constants_that_are_not_json_are_refused(self, codec, key, constant):
        assert refuses(
            codec, keys.compact(key, json.dumps(keys.header(key, x=0)).replace("0}", f"{constant}}}"), keys.claims())
        )
        claims = f'{json.dumps(keys.claims())[:-1]}, "x": {constant}}}'
        assert refuses(codec, keys.compact(key, keys.header(key), claims))

    @pytest.mark.parametrize("character", ["\n", "\0", "\x1f"])
    def test_a_raw_control_character_in_a_string_is_refused(self, codec, key, character):
        claims = json.dumps(keys.claims(x="?")).replace("?", character)
        assert refuses(codec, keys.compact(key, keys.header(key), claims))

    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"":', "}")])
    @pytest.mark.parametrize("closed", [True, False])
    def test_deep_nesting_is_refused(self, codec, key, opening, closing, closed):
        deep = opening * 1000 + "1" + closing * (1000 * closed)
        assert refuses(codec, keys.compact(key, f'{json.dumps(keys.header(key))[:-1]}, "x": {deep}}}', keys.claims()))
        assert refuses(codec, keys.compact(key, deep, keys.claims()))
        assert refuses(codec, keys.compact(key, keys.header(key), f'{json.dumps(keys.claims())[:-1]}, "x": {deep}}}'))

    def test_an_integer_of_5000_digits_is_refused(self, codec, key):
        long = "9" * 5000
        assert refuses(codec, keys.compact(key, f'{json.dumps(keys.header(key))[:-1]}, "x": {long}}}', keys.claims()))
        assert refuses(codec, keys.compact(key, keys.header(key), f'{json.dumps(keys.claims())[:-1]}, "x": {long}}}'))

    def test_many_side_by_side_are_read(self, codec, key):
        wide = [{"a": [number]} for number in range(100)]
        assert codec.decode(keys.compact(key, keys.header(key, x=wide[:30]), keys.claims(x=wide))).extra["x"][99][
            "a"
        ] == (99,)

    def test_nesting_is_read_128_deep_and_no_deeper_whatever_python_can(self, codec, key):
        value = 1
        for depth in range(2, 140):
            value = [value] if depth % 2 else {"a": value}
            for token in (
                keys.compact(key, keys.header(key), keys.claims(x=value)),
                keys.compact(key, keys.header(key, x=value), keys.claims()),
            ):
                assert refuses(codec, token) is (depth > 128)


class TestHeader:
    @pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+jwt"])
    def test_the_type_is_at_jwt_in_any_case(self, codec, key, kind):
        assert codec.decode(keys.compact(key, keys.header(key, typ=kind), keys.claims()))

    @pytest.mark.parametrize(
        "kind",
        [
            *("JWT", "jwt", "", "rt+jwt", "at+jwt ", " at+jwt", "at+jwt;", "text/at+jwt", "application/jwt"),
            *("dpop+jwt", "logout+jwt", None, 1, True, ["at+jwt"], {"at+jwt": 1}),
        ],
    )
    def test_another_type_is_refused(self, codec, key, kind):
        assert refuses(codec, keys.compact(key, keys.header(key, typ=kind), keys.claims()))

    @pytest.mark.parametrize("name", ["alg", "kid", "typ"])
    def test_no_member_may_be_missing(self, codec, key, name):
        assert refuses(codec, keys.compact(key, keys.without(keys.header(key), name), keys.claims()))

    @pytest.mark.parametrize(
        "members",
        [
            {"crit": ["exp"], "exp": 1},
            {"crit": ["x"], "x": 1},
            {"crit": ["x"]},
            {"crit": []},
            {"crit": ["alg"]},
            {"crit": "alg"},
            {"crit": None},
            {"crit": ["b64"], "b64": True},
            {"crit": ["b64"], "b64": False},
            {"b64": False},
            {"b64": True},
            {"b64": None},
        ],
    )
    def test_critical_extensions_and_unencoded_content_are_refused(self, codec, key, members):
        assert refuses(codec, keys.compact(key, keys.header(key, **members), keys.claims()))

    def test_unencoded_content_is_refused(self, codec, key):
        header = keys.segment(keys.header(key, b64=False, crit=["b64"]))
        content = json.dumps(keys.claims())
        assert refuses(codec, f"{header}.{content}.{keys.segment(key.sign(f'{header}.{content}'.encode()))}")
        assert refuses(codec, f"{header}..{keys.segment(key.sign(f'{header}.{content}'.encode()))}")

    def test_unknown_members_are_ignored(self, codec, key):
        assert codec.decode(keys.compact(key, keys.header(key, x5t="x", cty="JWT", own=[1]), keys.claims()))

    @pytest.mark.parametrize("kid", ["unknown", "", "../../etc/passwd", "' OR 1=1 --", "a\0b", "k" * 5000, "\ud800"])
    def test_an_unknown_key_id_is_refused(self, codec, key, kid):
        assert refuses(codec, keys.compact(key, keys.header(key, kid=kid), keys.claims()))

    @pytest.mark.parametrize("kid", [None, 1, True, 1.5, ["k"], {"k": 1}])
    def test_a_key_id_that_is_no_string_is_refused(self, codec, key, kid):
        assert refuses(codec, keys.compact(key, keys.header(key, kid=kid), keys.claims()))

    def test_a_key_in_the_header_is_never_used(self, codec, monkeypatch):
        monkeypatch.setattr(socket, "socket", None)
        monkeypatch.setattr(socket, "getaddrinfo", None)
        attacker = keys.key("ES256", "attacker")
        pem = base64.b64encode(keys.public_pem("ES256", "attacker").encode()).decode()
        for members in (
            {"jwk": attacker.public_jwk()},
            {"jku": "https://attacker.example/jwks.json"},
            {"x5u": "https://attacker.example/chain.pem"},
            {"x5c": [pem]},
        ):
            for kid in (attacker.kid, keys.key("ES256").kid):
                assert refuses(codec, keys.compact(attacker, keys.header(attacker, kid=kid, **members), keys.claims()))


class TestAlgorithms:
    @pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "NONE", ""])
    def test_an_unsigned_token_is_refused(self, any_key, algorithm):
        header, claims = keys.segment(keys.header(any_key, alg=algorithm)), keys.segment(keys.claims())
        for signature in ("", keys.segment(b"\0"), keys.segment(any_key.sign(f"{header}.{claims}".encode()))):
            assert refuses(keys.codec(any_key), f"{header}.{claims}.{signature}")

    def test_an_algorithm_that_is_not_exactly_the_one_of_the_key_is_refused(self, any_key):
        codec, name = keys.codec(any_key), any_key.algorithm
        for algorithm in (None, 1, True, [name], {name: 1}, name.lower(), name.swapcase(), f" {name}", f"{name} "):
            assert refuses(codec, keys.compact(any_key, keys.header(any_key, alg=algorithm), keys.claims()))

    def test_every_other_algorithm_is_refused_under_the_id_of_a_key(self, any_key):
        codec = keys.codec(any_key)
        for algorithm in {*ALGORITHMS, "Ed25519", "ES256K", "ES521"} - {any_key.algorithm}:
            token = keys.compact(any_key, keys.header(any_key, alg=algorithm), keys.claims())
            assert refuses(codec, token)

    @pytest.mark.parametrize("family", [("RS256", "PS256"), ("RS256", "RS512"), ("PS384", "RS384"), ("HS512", "HS256")])
    def test_another_algorithm_that_suits_the_key_is_refused(self, family):
        configured, other = (keys.entry(name, KID="same") for name in family)
        if family[0].startswith("HS"):
            other["SECRET"] = configured["SECRET"]
        signer = Key.from_dict(other)
        assert refuses(keys.codec(Key.from_dict(configured)), keys.compact(signer, keys.header(signer), keys.claims()))

    @pytest.mark.parametrize("algorithm", keys.ASYMMETRIC)
    def test_a_public_key_is_no_secret(self, algorithm):
        key = keys.key(algorithm)
        pem = keys.public_pem(algorithm)
        secrets = [
            pem.encode(),
            pem.strip().encode(),
            key.verifying_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
            json.dumps(key.public_jwk()).encode(),
        ]
        hmac = keys.key("HS256").implementation
        for secret in secrets:
            for alg in ("HS256", algorithm):
                signing_input = f"{keys.segment(keys.header(key, alg=alg))}.{keys.segment(keys.claims())}"
                signature = keys.segment(hmac.sign(signing_input.encode(), secret))
                assert refuses(keys.codec(key, keys.key("HS256")), f"{signing_input}.{signature}")

    def test_the_id_of_one_key_under_the_algorithm_of_another_is_refused(self):
        first, second = keys.key("ES256"), keys.key("EdDSA")
        codec = keys.codec(first, second)
        for signer in (first, second):
            for header in (keys.header(first, kid=second.kid), keys.header(second, kid=first.kid)):
                assert refuses(codec, keys.compact(signer, header, keys.claims()))


class TestSignature:
    def test_one_flipped_bit_anywhere_is_refused(self, any_key):
        codec = keys.codec(any_key, cache_size=100)
        token = codec.encode(keys.claims())
        segments = [b64url_decode(segment) for segment in token.split(".")]
        for position, content in enumerate(segments):
            for at in range(len(content)):
                for bit in range(0, 8, 3 if len(content) > 200 else 1):
                    changed = bytearray(content)
                    changed[at] ^= 1 << bit
                    parts = [*segments[:position], bytes(changed), *segments[position + 1 :]]
                    assert refuses(codec, ".".join(map(b64url_encode, parts)))
        assert not refuses(codec, token)

    def test_one_changed_character_anywhere_is_refused(self, codec, token):
        for at, character in enumerate(token):
            if character != ".":
                other = ALPHABET[(ALPHABET.index(character) + 32) % 64]
                assert refuses(codec, token[:at] + other + token[at + 1 :])

    def test_the_signature_of_another_token_is_refused(self, any_key):
        codec = keys.codec(any_key)
        first, second = codec.encode(keys.claims()), codec.encode(keys.claims(sub="2"))
        assert refuses(codec, f"{first.rpartition('.')[0]}.{second.rpartition('.')[2]}")

    def test_a_shorter_or_longer_signature_is_refused(self, any_key):
        codec = keys.codec(any_key)
        signing_input, _, signature = codec.encode(keys.claims()).rpartition(".")
        right = b64url_decode(signature)
        for wrong in (right[:-1], right + b"\0", b"\0" + right, right * 2, right[:1], bytes(len(right)), b"\0"):
            assert refuses(codec, f"{signing_input}.{keys.segment(wrong)}")

    def test_another_key_of_the_same_kind_is_refused(self, any_key):
        other = Key.from_dict(keys.entry(any_key.algorithm, "second", KID=any_key.kid))
        assert refuses(keys.codec(any_key), keys.compact(other, keys.header(other), keys.claims()))

    @pytest.mark.parametrize(
        ("algorithm", "hash_class"), [("ES256", hashes.SHA256), ("ES384", hashes.SHA384), ("ES512", hashes.SHA512)]
    )
    def test_an_ecdsa_signature_in_der_is_refused(self, algorithm, hash_class):
        key = keys.key(algorithm)
        signing_input = f"{keys.segment(keys.header(key))}.{keys.segment(keys.claims())}"
        signature = key.signing_key.sign(signing_input.encode(), ec.ECDSA(hash_class()))
        assert refuses(keys.codec(key), f"{signing_input}.{keys.segment(signature)}")

    @pytest.mark.parametrize("numbers", [(0, 0), (0, 1), (1, 0), (2**256 - 1, 2**256 - 1)])
    def test_an_ecdsa_signature_of_impossible_numbers_is_refused(self, numbers):
        key = keys.key("ES256")
        signature = b"".join(number.to_bytes(32, "big") for number in numbers)
        signing_input = f"{keys.segment(keys.header(key))}.{keys.segment(keys.claims())}"
        assert refuses(keys.codec(key), f"{signing_input}.{keys.segment(signature)}")

    def test_an_rsa_signature_above_the_modulus_is_refused(self):
        key = keys.key("RS256")
        signing_input = f"{keys.segment(keys.header(key))}.{keys.segment(keys.claims())}"
        assert refuses(keys.codec(key), f"{signing_input}.{keys.segment(bytes([255]) * 256)}")


class TestIssuer:
    @pytest.mark.parametrize(
        "issuer",
        [
            *(f"{keys.ISSUER}/", keys.ISSUER.upper(), keys.ISSUER[:-1], f" {keys.ISSUER}", "http://id.example.com", ""),
            *("https://id.example.co\u043c", None, 1, True, [keys.ISSUER], {keys.ISSUER: 1}, "\ud800"),
        ],
    )
    def test_another_issuer_is_refused(self, codec, key, issuer):
        assert refuses(codec, keys.compact(key, keys.header(key), keys.claims(iss=issuer)))

    def test_a_key_of_one_issuer_signs_for_no_other(self):
        first, second = keys.key("ES256"), keys.key("EdDSA")
        other = keys.issuer(second, iss="second")
        codec = TokenCodec(keys.issuer(first, iss="first"), {"second": other})
        assert codec.decode(keys.compact(second, keys.header(second), keys.claims(iss="second")))
        assert codec.decode(keys.compact(first, keys.header(first), keys.claims(iss="first"))).iss == "first"
        assert refuses(codec, keys.compact(first, keys.header(first), keys.claims(iss="second")))
        assert refuses(codec, keys.compact(second, keys.header(second), keys.claims(iss="first")))

    def test_our_own_keys_stay_ours_whatever_is_trusted(self):
        first, second = keys.key("ES256"), keys.key("EdDSA")
        codec = TokenCodec(keys.issuer(first), {keys.ISSUER: keys.issuer(second)})
        assert codec.decode(keys.compact(first, keys.header(first), keys.claims()))
        assert refuses(codec, keys.compact(second, keys.header(second), keys.claims()))


class TestVerifyOwn:
    @pytest.fixture
    def codec(self):
        audiences = frozenset({keys.AUDIENCE})
        other = keys.issuer(keys.key("EdDSA"), iss="other", audiences=audiences)
        own = keys.issuer(keys.key("ES256"), audiences=audiences)
        return TokenCodec(own, {"other": other}, 10, leeway=5)

    def test_a_token_of_another_issuer_is_refused_even_if_remembered(self, codec):
        key = keys.key("EdDSA")
        token = keys.compact(key, keys.header(key), keys.claims(iss="other"))
        for _ in range(2):
            with pytest.raises(InvalidTokenError) as caught:
                codec.verify_own(token, keys.NOW)
            assert caught.value.stage == "issuer"
            assert codec.verify(token, keys.NOW).iss == "other"

    def test_a_token_of_our_own_is_accepted_while_it_is_current(self, codec):
        token = codec.encode(keys.claims())
        assert codec.verify_own(token, keys.NOW + 604.9) == codec.decode(token)
        with pytest.raises(ExpiredTokenError):
            codec.verify_own(token, keys.NOW + 605)
        with pytest.raises(InvalidTokenError) as caught:
            codec.verify_own(codec.encode(keys.claims(aud="others")), keys.NOW)
        assert caught.value.stage == "audience"

    def test_other_text_is_refused_and_nothing_is_remembered(self, codec):
        assert codec.verify_own(codec.encode(keys.claims()), keys.NOW)
        with pytest.raises(InvalidTokenError):
            codec.verify_own("a.b.c", keys.NOW)
        assert len(codec._cache) == 0


class TestClaims:
    @pytest.mark.parametrize("name", keys.claims())
    def test_no_claim_may_be_missing(self, codec, key, name):
        assert refuses(codec, keys.compact(key, keys.header(key), keys.without(keys.claims(), name)))

    @pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
    @pytest.mark.parametrize(
        "value",
        [
            *('"1900000000"', '""', "true", "false", "null", "[]", "[1900000000]", "{}", "1e400", "-1e400", "1e308"),
            *("9" * 400, "1000000000000001", "-1000000000000001", "1e16", "NaN", "Infinity", "-Infinity"),
        ],
    )
    def test_a_date_that_is_no_plausible_number_is_refused(self, codec, key, name, value):
        claims = json.dumps(keys.claims(**{name: "?"})).replace('"?"', value)
        assert refuses(codec, keys.compact(key, keys.header(key), claims))

    @pytest.mark.parametrize("value", [0, -1, 1.5, 10**15, -(10**15), 1e15, 0.1, -0.0])
    def test_a_date_may_be_any_number_of_seconds(self, codec, key, value):
        claims = codec.decode(keys.compact(key, keys.header(key), keys.claims(exp=value, iat=value, nbf=value)))
        assert (claims.exp, claims.iat, claims.nbf) == (math.floor(value), value, value)

    @pytest.mark.parametrize("value", [None, "", 1, 1.5, True, [], ["1"], {}])
    @pytest.mark.parametrize("name", ["sub", "jti", "sid"])
    def test_an_id_that_is_no_text_is_refused(self, codec, key, name, value):
        assert refuses(codec, keys.compact(key, keys.header(key), keys.claims(**{name: value})))

    @pytest.mark.parametrize("name", ["jti", "sid"])
    @pytest.mark.parametrize(
        "value", ["A" * 22, keys.SID[:-1], keys.SID + "A", keys.SID[:-1] + "B", keys.SID[:-1] + "=", str(new_id())]
    )
    def test_an_id_that_is_not_22_canonical_characters_is_refused(self, codec, key, name, value):
        assert refuses(codec, keys.compact(key, keys.header(key), keys.claims(**{name: value})))

    @pytest.mark.parametrize(
        "value", ["", 1, None, True, {}, {"notes": 1}, [1], [None], ["notes", 1], [""], [["notes"]]]
    )
    def test_an_audience_that_is_no_text_is_refused(self, codec, key, value):
        assert refuses(codec, keys.compact(key, keys.header(key), keys.claims(aud=value)))

    @pytest.mark.parametrize(
        ("value", "expected"), [("a", ("a",)), (["a"], ("a",)), (["a", "b"], ("a", "b")), ([], ())]
    )
    def test_an_audience_is_read_as_a_tuple(self, codec, key, value, expected):
        assert codec.decode(keys.compact(key, keys.header(key), keys.claims(aud=value))).aud == expected

    @pytest.mark.parametrize("value", [None, 1, True, [], ["read"], {}])
    def test_a_scope_that_is_no_text_is_refused(self, codec, key, value):
        assert refuses(codec, keys.compact(key, keys.header(key), keys.claims(scope=value)))

    @pytest.mark.parametrize("value", ["", "read", "read write"])
    def test_a_scope_is_read_as_it_stands(self, codec, key, value):
        assert codec.decode(keys.compact(key, keys.header(key), keys.claims(scope=value))).scope == value

    def test_what_is_absent_is_none(self, codec, token):
        claims = codec.decode(token)
        assert (claims.nbf, claims.scope, dict(claims.extra)) == (None, None, {})

    @pytest.mark.parametrize("value", [{"jkt": "x"}, {}, None, "", False])
    def test_a_token_bound_to_a_key_is_refused(self, codec, key, value):
        assert refuses(codec, keys.compact(key, keys.header(key), keys.claims(cnf=value)))

    def test_unknown_claims_are_kept_apart(self, codec, key):
        claims = codec.decode(keys.compact(key, keys.header(key), keys.claims(client_id="x", azp=1, amr=["pwd"])))
        assert claims.extra == {"client_id": "x", "azp": 1, "amr": ("pwd",)}

    def test_claims_are_read_only_however_deep(self, codec, key):
        nested = {"a": {"b": [{"c": [1]}]}}
        claims = codec.decode(keys.compact(key, keys.header(key), keys.claims(nested=nested, roles=["a"])))
        with pytest.raises(AttributeError):
            claims.sub = "2"
        inner = claims.extra["nested"]
        for mapping in (claims.extra, inner, inner["a"], inner["a"]["b"][0]):
            with pytest.raises(TypeError, match="read-only"):
                mapping["new"] = 1
        assert inner["a"]["b"][0]["c"] == (1,)
        assert claims.extra["roles"] == ("a",)

    def test_a_lone_surrogate_is_read_and_does_no_harm(self, codec, key):
        token = keys.compact(key, keys.header(key), keys.claims(sub="\ud800", **{"\udfff": "\ud800"}))
        assert codec.decode(token).sub == "\ud800"


class TestCache:
    @pytest.fixture
    def codec(self, key):
        return keys.codec(key, cache_size=10)

    def test_a_token_seen_before_gives_the_same_claims(self, codec, token):
        assert codec.decode(token) is codec.decode(token)

    def test_it_is_off_by_default_and_with_size_0(self, key, token):
        for codec in (TokenCodec(keys.issuer(key)), keys.codec(key, cache_size=0)):
            first, second = codec.decode(token), codec.decode(token)
            assert first == second
            assert first is not second

    def test_a_token_seen_before_is_not_verified_again(self, codec, key, token, monkeypatch):
        codec.decode(token)
        monkeypatch.setattr(type(key.implementation), "verify", None)
        assert codec.decode(token).sub == "1"

    def test_it_ends_when_the_key_leaves_the_ring(self, codec, key, token):
        codec.decode(token)
        keys.replace_keys(codec.own, keys.key(key.algorithm, "second"))
        assert refuses(codec, token)

    def test_it_ends_when_the_issuer_has_no_key_left(self, codec, key, token):
        codec.decode(token)
        keys.replace_keys(codec.own)
        assert refuses(codec, token)

    def test_it_ends_when_another_key_takes_the_id(self, codec, key, token):
        codec.decode(token)
        keys.replace_keys(codec.own, Key.from_dict(keys.entry(key.algorithm, "second", KID=key.kid)))
        assert refuses(codec, token)

    def test_it_lives_on_while_the_key_moves_in_the_ring(self, codec, key, token):
        claims = codec.decode(token)
        keys.replace_keys(codec.own, keys.key(key.algorithm, "second"), key)
        assert codec.decode(token) is claims

    def test_a_key_loaded_again_verifies_again(self, codec, key, token):
        claims = codec.decode(token)
        keys.replace_keys(codec.own, Key.from_dict(keys.entry(key.algorithm, KID=key.kid)))
        if key.algorithm == "HS256":
            assert codec.decode(token) == claims
        assert codec.decode(token) is not claims

    def test_the_whole_token_is_what_is_remembered(self, codec, key, token):
        codec.decode(token)
        for at in range(len(token)):
            assert refuses(codec, token[:at])
        assert refuses(codec, f"{token}A")
        claims = keys.claims(sub="2")
        assert refuses(codec, f"{token.partition('.')[0]}.{keys.segment(claims)}.{token.rpartition('.')[2]}")

    def test_a_refused_token_is_not_remembered(self, codec, key):
        token = keys.compact(keys.key("ES384"), keys.header(keys.key("ES384")), keys.claims())
        assert refuses(codec, token)
        keys.replace_keys(codec.own, keys.key("ES384"))
        assert codec.decode(token)

    def test_the_header_of_authentic_tokens_is_read_once(self, codec, monkeypatch):
        read, seen = tokens._read_header, []
        monkeypatch.setattr(tokens, "_read_header", lambda segment: seen.append(segment) or read(segment))
        first, second = (codec.encode(keys.claims(sub=sub)) for sub in "12")
        for _ in range(2):
            assert refuses(codec, f"{first.rpartition('.')[0]}.AAAA")
        assert len(seen) == 2
        assert codec.decode(first) != codec.decode(second)
        assert len(seen) == 3

    def test_it_is_bounded(self):
        codec = keys.codec(keys.key("HS256"), cache_size=10)
        tokens = [codec.encode(keys.claims(sub=str(number))) for number in range(100)]
        first = [codec.decode(token) for token in tokens]
        kept = sum(codec.decode(token) is claims for token, claims in reversed(list(zip(tokens, first, strict=True))))
        assert 1 <= kept <= 10


class TestTokenCache:
    @pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 10, 100])
    def test_it_never_holds_more_than_its_size(self, size):
        cache = TokenCache(size)
        numbers = random.Random(size)  # noqa: S311
        for number in range(500):
            cache.put(str(number), number)
            cache.get(str(numbers.randrange(number + 1)))
            assert len(cache) <= size

    def test_it_holds_half_its_size_for_certain(self):
        cache = TokenCache(10)
        for number in range(100):
            cache.put(str(number), number)
            assert all(cache.get(str(recent)) == recent for recent in range(max(0, number - 4), number + 1))

    @pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 3000, 8192, 20_000])
    def test_long_tokens_are_fewer(self, length):
        cache = TokenCache(10)
        most = 10 * MEAN_LENGTH + 2 * length
        for number in range(100):
            cache.put(str(number).rjust(length), number)
            assert len(cache) * length <= most
            assert cache.get(str(number).rjust(length)) == number
        assert len(cache) >= min(5, 5 * MEAN_LENGTH // length)

    def test_long_tokens_leave_room_for_short_ones(self):
        cache = TokenCache(10)
        for number in range(20):
            cache.put(f"{number:020000}", number)
        for number in range(5):
            cache.put(str(number), number)
        assert all(cache.get(str(number)) == number for number in range(5))

    def test_what_is_used_stays(self):
        cache = TokenCache(10)
        cache.put("used", 1)
        for number in range(100):
            cache.put(str(number), number)
            assert cache.get("used") == 1

    def test_what_is_not_used_goes(self):
        cache = TokenCache(10)
        cache.put("unused", 1)
        for number in range(10):
            cache.put(str(number), number)
        assert cache.get("unused") is None

    def test_it_returns_what_was_put_last(self):
        cache = TokenCache(10)
        cache.put("a", 1)
        cache.put("a", 2)
        assert (cache.get("a"), cache.get("b"), len(cache)) == (2, None, 1)


def is_current(now, leeway=0, audiences=("notes",), **changes):
    """Return what each way of asking says, seen for the first time and remembered from another moment: the same."""
    claims = keys.claims(**{"exp": 2000, "iat": 1000, "aud": ("notes",), **changes})
    codec = keys.codec(keys.key("HS256"), cache_size=2, audiences=frozenset(audiences), leeway=leeway)
    token = codec.encode(claims)

    def verdict(ask):
        try:
            ask()
        except TokenError as error:
            return error.code
        return True

    found = [verdict(lambda: check_current(Claims(**claims), frozenset(audiences), now, leeway))]
    for moment in (now, 1500, now):
        found.append(verdict(lambda moment=moment: codec.verify(token, moment)))
    assert found[0] == found[1] == found[3]
    return found[0]


class TestCheckCurrent:
    def test_no_leeway_is_given_unless_it_is_asked_for(self):
        codec = TokenCodec(keys.issuer(keys.key("HS256"), audiences=frozenset({keys.AUDIENCE})))
        token, exp = codec.encode(keys.claims()), keys.claims()["exp"]
        assert codec.verify(token, exp - 0.1)
        with pytest.raises(ExpiredTokenError):
            codec.verify(token, exp)

    @pytest.mark.parametrize("leeway", [0, 5, 0.5, 60])
    def test_a_token_expires_at_exp_and_the_leeway(self, leeway):
        assert is_current(1999 + leeway, leeway) is True
        assert is_current(1999.999 + leeway, leeway) is True
        assert is_current(2000 + leeway, leeway) == "token_expired"
        assert is_current(2001 + leeway, leeway) == "token_expired"

    @pytest.mark.parametrize("leeway", [0, 5, 0.5, 60])
    @pytest.mark.parametrize("name", ["iat", "nbf"])
    def test_a_token_of_the_future_is_refused_beyond_the_leeway(self, name, leeway):
        assert is_current(1500, leeway, **{name: 1500}) is True
        assert is_current(1500, leeway, **{name: 1500 + leeway}) is True
        assert is_current(1500, leeway, **{name: 1500.001 + leeway}) == "token_invalid"
        assert is_current(1500, leeway, **{name: 1501 + leeway}) == "token_invalid"

    def test_a_fraction_of_a_second_never_makes_a_token_live_longer(self):
        codec = keys.codec(keys.key("HS256"))
        claims = codec.decode(codec.encode(keys.claims(iat=1000, exp=2000.9)))
        check_current(claims, frozenset({keys.AUDIENCE}), 1999.99, 0)
        with pytest.raises(ExpiredTokenError):
            check_current(claims, frozenset({keys.AUDIENCE}), 2000, 0)

    @pytest.mark.parametrize("audience", [("notes",), ("other", "notes"), ("notes", "other")])
    @pytest.mark.parametrize("audiences", [("notes",), ["other-of-ours", "notes"], {"notes"}])
    def test_one_common_audience_is_enough(self, audience, audiences):
        assert is_current(1500, aud=audience, audiences=audiences) is True

    @pytest.mark.parametrize("audience", [(), ("other",), ("note",), ("notes2",), ("Notes",), ("notes ",), ("n",)])
    def test_another_audience_is_refused(self, audience):
        assert is_current(1500, aud=audience) == "token_invalid"

    def test_an_expired_token_for_others_is_invalid(self):
        assert is_current(3000, aud=("other",)) == "token_invalid"


class TestGetCodec:
    def test_is_made_once(self, settings):
        codec = get_codec()
        settings.USE_TZ = not settings.USE_TZ
        assert get_codec() is codec

    def test_accepts_the_configured_issuer_only(self, settings):
        settings.JWTAUTH = {"ISSUER": keys.ISSUER}
        assert list(get_codec().issuers) == [keys.ISSUER]

    def test_follows_the_settings(self, settings):
        before = get_codec()
        token = before.encode(keys.claims(iss="django-jwtauth"))
        settings.JWTAUTH = {"ISSUER": keys.ISSUER}
        assert refuses(get_codec(), token)
        settings.JWTAUTH = {}
        assert get_codec() is not before
        assert get_codec().decode(token)

    def test_follows_the_secret_key_and_its_fallbacks(self, settings):
        settings.SECRET_KEY = "old"
        token = get_codec().encode(keys.claims(iss="django-jwtauth"))
        settings.SECRET_KEY = "new"
        assert refuses(get_codec(), token)
        settings.SECRET_KEY_FALLBACKS = ["old"]
        assert get_codec().decode(token)
        assert get_codec().encode(keys.claims(iss="django-jwtauth")) != token
        settings.SECRET_KEY_FALLBACKS = []
        assert refuses(get_codec(), token)

    def test_remembers_as_many_tokens_as_configured(self, settings):
        settings.JWTAUTH = {"TOKEN_CACHE_SIZE": 0}
        token = get_codec().encode(keys.claims(iss="django-jwtauth"))
        assert get_codec().decode(token) is not get_codec().decode(token)
        settings.JWTAUTH = {}
        assert get_codec().decode(token) is get_codec().decode(token)

    def test_a_mistake_in_the_settings_is_improperly_configured(self, settings):
        settings.JWTAUTH = {"SIGNING_KEYS": []}
        with pytest.raises(ImproperlyConfigured):
            get_codec()

    def test_the_life_of_a_key_is_its_place_in_the_list(self, settings):
        def configure(*entries):
            settings.JWTAUTH = {"ISSUER": keys.ISSUER, "SIGNING_KEYS": list(entries)}
            return get_codec()

        old, new = keys.entry("ES256"), keys.entry("ES256", "second")
        of_old = configure(old, new).encode(keys.claims())
        of_new = configure(new, old).encode(keys.claims())
        for entries in ((old, new), (new, old), (new, keys.public_entry("ES256"))):
            assert configure(*entries).decode(of_old)
            assert configure(*entries).decode(of_new)
        assert refuses(configure(new), of_old)
        assert configure(new).decode(of_new)


class TestSize:
    """A token travels with every request."""

    @pytest.fixture
    def user(self, db):
        return get_user_model().objects.create_user("alice", id=7)

    def test_of_a_token_by_default_is_at_most_315_bytes(self, user, settings):
        settings.JWTAUTH = {}
        assert len(sessions.start(user).access_token) <= 315

    @pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
    def test_of_a_token_with_a_short_signature_is_at_most_360_bytes(self, user, settings, algorithm):
        settings.JWTAUTH = {"ISSUER": "id.example.com", "SIGNING_KEYS": [keys.entry(algorithm)]}
        assert len(sessions.start(user).access_token) <= 360


def test_ids_of_tokens_are_distinct():
    assert len({encode_id(new_id()) for _ in range(100_000)}) == 100_000
