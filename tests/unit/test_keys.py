import base64
import dataclasses
import hashlib
import json
import traceback
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, x25519
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac
from django.views.debug import ExceptionReporter

from django_jwtauth.issuers.own import configured_ring, load_keys, secret_keys
from django_jwtauth.jose.encoding import b64url_decode, b64url_encode
from django_jwtauth.jose.key_parsing import ALGORITHMS, UnusableKeyError
from django_jwtauth.jose.keys import Key, KeyRing, generate_private_key, thumbprint
from django_jwtauth.tokens.access import get_codec
from tests.support import keys
from tests.support.keys import ED25519_JWK, RSA_JWK

OPENSSH = serialization.PrivateFormat.OpenSSH
PKCS1_OR_SEC1 = serialization.PrivateFormat.TraditionalOpenSSL
EC_PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
QUOTED = "is in quotation marks, which docker --env-file keeps. Remove them."
BASE64 = "looks like base64 of a key. Decode it first: base64.b64decode(…)."
PATH = "looks like a path. Write it as a path: Path(…) of pathlib."
NO_PEM = "is no PEM. Write PEM text, a pathlib.Path of a PEM file, or a JWK as a dict or text."
EMPTY_PEM = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"

# RFC 7517 appendix A.2
EC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
}
PUBLIC_EC_JWK = {name: EC_JWK[name] for name in ("kty", "crv", "x", "y")}


def refusal(entry):
    """The sentence with which a key is refused."""
    with pytest.raises(UnusableKeyError) as caught:
        Key.from_dict(entry)
    return str(caught.value)


def private_jwk(algorithm):
    key = keys.key(algorithm)
    return key.implementation.to_jwk(key.signing_key, as_dict=True)


def test_there_are_thirteen_algorithms_and_none_is_not_one():
    assert " ".join(ALGORITHMS) == ("HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA")


class TestSignAndVerify:
    @pytest.fixture(params=ALGORITHMS)
    def key(self, request):
        return keys.key(request.param)

    def test_a_signature_is_verified(self, key):
        assert key.verify(b"data", key.sign(b"data"))

    def test_other_data_or_another_signature_is_not(self, key):
        signature = key.sign(b"data")
        assert not key.verify(b"date", signature)
        assert not key.verify(b"data", bytes([signature[0] ^ 1]) + signature[1:])
        assert not key.verify(b"data", signature[:-1])
        assert not key.verify(b"data", signature + b"\0")
        assert not key.verify(b"data", b"")

    def test_another_key_of_the_same_kind_does_not_verify(self, key):
        assert not keys.key(key.algorithm, "second").verify(b"data", key.sign(b"data"))

    def test_pyjwt_accepts_what_was_signed(self, key):
        token = keys.compact(key, keys.header(key), {"sub": "1"})
        assert jwt.decode(token, key.verifying_key, [key.algorithm]) == {"sub": "1"}

    def test_what_pyjwt_signed_is_accepted(self, key):
        signing_input, _, signature = jwt.encode({"sub": "1"}, key.signing_key, key.algorithm).rpartition(".")
        assert key.verify(signing_input.encode(), b64url_decode(signature))

    def test_only_secrets_are_symmetric(self, key):
        assert key.is_symmetric == key.algorithm.startswith("HS")

    def test_the_representation_holds_no_key_material(self, key):
        assert repr(key) == f"Key(kid='{key.kid}', algorithm='{key.algorithm}')"

    def test_keys_are_compared_as_objects_and_not_by_what_is_secret(self):
        assert len({Key.from_dict(keys.entry("HS256")) for _ in range(2)}) == 2

    def test_a_key_is_read_only(self, key):
        with pytest.raises(dataclasses.FrozenInstanceError):
            key.algorithm = "none"


@pytest.mark.parametrize("algorithm", keys.ASYMMETRIC)
def test_a_public_key_verifies_and_cannot_sign(algorithm):
    key, public = keys.key(algorithm), Key.from_dict(keys.public_entry(algorithm))
    assert public.verify(b"data", key.sign(b"data"))
    assert public.signing_key is None
    assert public.kid == key.kid


class TestSpellings:
    @pytest.fixture(params=keys.ASYMMETRIC)
    def algorithm(self, request):
        return request.param

    def is_read(self, algorithm, material, **members):
        key = Key.from_dict({"ALGORITHM": algorithm, "PRIVATE_KEY": material, **members})
        return key.kid == keys.key(algorithm).kid and keys.key(algorithm).verify(b"data", key.sign(b"data"))

    def test_pem_text(self, algorithm):
        assert self.is_read(algorithm, keys.private_pem(algorithm))

    def test_pem_bytes(self, algorithm):
        assert self.is_read(algorithm, keys.private_pem(algorithm).encode())

    @pytest.mark.parametrize("line_break", ["\\n", "\\r\\n", "\r\n"])
    def test_pem_text_with_other_line_breaks(self, algorithm, line_break):
        assert self.is_read(algorithm, keys.private_pem(algorithm).replace("\n", line_break))

    @pytest.mark.parametrize("passphrase", ["pass phrase", b"pass phrase"])
    def test_a_passphrase(self, algorithm, passphrase):
        locked = keys.as_pem(keys.loaded(keys.private_pem(algorithm)), passphrase=b"pass phrase")
        assert self.is_read(algorithm, locked, PASSPHRASE=passphrase)

    @pytest.mark.parametrize("spelling", [dict, json.dumps, lambda jwk: f"\n {json.dumps(jwk)}\n".encode()])
    def test_a_jwk_as_dict_text_or_bytes(self, algorithm, spelling):
        assert self.is_read(algorithm, spelling(private_jwk(algorithm)))
        assert self.is_read(algorithm, spelling({**private_jwk(algorithm), "use": "sig", "alg": algorithm}))

    @pytest.mark.parametrize("text", [lambda pem: pem, lambda pem: pem.replace("\n", "\\n"), lambda pem: f"Bag\n{pem}"])
    def test_a_file_of_pem_as_tools_write_it(self, algorithm, text, tmp_path):
        path = tmp_path / "key.pem"
        path.write_text(text(keys.private_pem(algorithm)))
        assert self.is_read(algorithm, path)

    def test_a_file_of_a_jwk(self, algorithm, tmp_path):
        path = tmp_path / "key.jwk"
        path.write_text(json.dumps(private_jwk(algorithm)))
        assert self.is_read(algorithm, path)

    @pytest.mark.parametrize("passphrase", [None, "", b""])
    def test_a_passphrase_that_is_none_or_empty_is_no_passphrase(self, algorithm, passphrase):
        assert self.is_read(algorithm, keys.private_pem(algorithm), PASSPHRASE=passphrase)
        assert self.is_read(algorithm, private_jwk(algorithm), PASSPHRASE=passphrase)

    def test_a_public_key_as_text_path_and_jwk(self, algorithm, tmp_path):
        pem, path = keys.public_pem(algorithm), tmp_path / "key.pem"
        path.write_text(pem)
        jwk = {name: value for name, value in keys.key(algorithm).public_jwk().items() if name != "kid"}
        for material in (pem, pem.encode(), pem.replace("\n", "\\n"), path, jwk, json.dumps(jwk)):
            public = Key.from_dict({"ALGORITHM": algorithm, "PUBLIC_KEY": material})
            assert public.kid == keys.key(algorithm).kid

    def test_pkcs_1(self):
        assert self.is_read("RS256", keys.as_pem(keys.rsa_key(2048), PKCS1_OR_SEC1))

    def test_a_public_key_in_pkcs_1(self):
        pem = keys.rsa_key(2048).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
        assert pem.startswith(b"-----BEGIN RSA PUBLIC KEY-----")
        assert Key.from_dict({"ALGORITHM": "RS256", "PUBLIC_KEY": pem}).kid == keys.key("RS256").kid

    @pytest.mark.parametrize("before", ["", EC_PARAMETERS])
    def test_sec_1_with_or_without_the_parameters_that_openssl_writes(self, before):
        sec_1 = keys.as_pem(keys.loaded(keys.private_pem("ES256")), PKCS1_OR_SEC1)
        assert sec_1.startswith("-----BEGIN EC PRIVATE KEY-----")
        assert self.is_read("ES256", before + sec_1)

    def test_a_passphrase_of_pkcs_1_and_sec_1(self):
        for algorithm in ("RS256", "ES256"):
            locked = keys.as_pem(keys.loaded(keys.private_pem(algorithm)), PKCS1_OR_SEC1, b"pass phrase")
            assert self.is_read(algorithm, locked, PASSPHRASE="pass phrase")

    @pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
    def test_a_secret_is_text_or_bytes(self, algorithm):
        secret = keys.secret(algorithm)
        text = Key.from_dict({"ALGORITHM": algorithm, "SECRET": secret.decode()})
        assert text.verify(b"data", keys.key(algorithm).sign(b"data"))

    @pytest.mark.parametrize("absent", [None, ""])
    def test_a_member_that_is_empty_is_not_there(self, absent):
        private = Key.from_dict(keys.entry("ES256", PUBLIC_KEY=absent, SECRET=absent))
        public = Key.from_dict(keys.public_entry("ES256", PRIVATE_KEY=absent))
        assert private.signing_key is not None
        assert public.signing_key is None


class TestKid:
    def test_defaults_to_eight_characters_of_the_thumbprint(self):
        key = Key.from_dict({"ALGORITHM": "RS256", "PUBLIC_KEY": keys.without(RSA_JWK, "kid")})
        assert key.kid == "NzbLsXh8"

    def test_of_a_jwk_is_its_own_unless_the_entry_says_another(self):
        entry = {"ALGORITHM": "RS256", "PUBLIC_KEY": RSA_JWK}
        assert Key.from_dict(entry).kid == Key.from_dict({**entry, "KID": None}).kid == "2011-04-29"
        assert Key.from_dict({**entry, "KID": "2026-01"}).kid == "2026-01"

    def test_is_what_the_entry_says(self):
        assert Key.from_dict(keys.entry("HS256", KID="2026-01")).kid == "2026-01"

    @pytest.mark.parametrize("kid", ["", 1, b"2026", ["a"], "a\nb", "a\0", "\ud800"])
    def test_must_be_printable_text(self, kid):
        expected = 'KID is not printable text. Write one such as "2026-01", or leave it out.'
        assert refusal(keys.entry("HS256", KID=kid)) == expected
        assert refusal({"ALGORITHM": "ES256", "PUBLIC_KEY": {**PUBLIC_EC_JWK, "kid": kid}}) == expected

    def test_of_a_secret_does_not_show_the_secret(self):
        key = keys.key("HS256")
        assert key.kid == thumbprint(key.implementation.to_jwk(key.verifying_key, as_dict=True))[:8]
        assert key.kid not in keys.secret("HS256").decode()


class TestThumbprint:
    def test_of_the_key_of_rfc_7638(self):
        assert thumbprint(RSA_JWK) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

    def test_of_the_key_of_rfc_8037(self):
        assert thumbprint(ED25519_JWK) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"

    def test_of_the_key_of_rfc_9449(self):
        # Sections 4.1 and 6.1
        jwk = {
            "kty": "EC",
            "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
            "crv": "P-256",
        }
        assert thumbprint(jwk) == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

    def test_of_a_secret_is_made_of_both_required_members(self):
        expected = b64url_encode(hashlib.sha256(b'{"k":"AAAA","kty":"oct"}').digest())
        assert thumbprint({"kty": "oct", "k": "AAAA"}) == expected

    @pytest.mark.parametrize("jwk", [RSA_JWK, ED25519_JWK, EC_JWK])
    def test_ignores_members_that_are_not_required_and_their_order(self, jwk):
        others = {"kid": "1", "use": "sig", "alg": "x", "d": "y", **dict(reversed(jwk.items()))}
        assert thumbprint(others) == thumbprint(jwk)

    @pytest.mark.parametrize(("algorithm", "jwk"), [("RS256", RSA_JWK), ("ES256", EC_JWK), ("EdDSA", ED25519_JWK)])
    def test_of_a_published_key_is_that_of_the_standard_key(self, algorithm, jwk):
        member = "PRIVATE_KEY" if "d" in jwk else "PUBLIC_KEY"
        assert thumbprint(Key.from_dict({"ALGORITHM": algorithm, member: jwk}).public_jwk()) == thumbprint(jwk)


def curve_pem(curve):
    return keys.as_pem(ec.generate_private_key(curve()))


WRONG_KEYS = {
    "curve P-384 for ES256": lambda: ("ES256", keys.private_pem("ES384")),
    "curve P-256 for ES384": lambda: ("ES384", keys.private_pem("ES256")),
    "curve P-256 for ES512": lambda: ("ES512", keys.private_pem("ES256")),
    "curve secp256k1 for ES256": lambda: ("ES256", curve_pem(ec.SECP256K1)),
    "Ed448 for EdDSA": lambda: ("EdDSA", keys.as_pem(ed448.Ed448PrivateKey.generate())),
    "X25519 for EdDSA": lambda: ("EdDSA", keys.as_pem(x25519.X25519PrivateKey.generate())),
    "RSA for ES256": lambda: ("ES256", keys.private_pem("RS256")),
    "EC for RS256": lambda: ("RS256", keys.private_pem("ES256")),
    "EC for PS512": lambda: ("PS512", keys.private_pem("ES256")),
    "Ed25519 for ES256": lambda: ("ES256", keys.private_pem("EdDSA")),
    "EC for EdDSA": lambda: ("EdDSA", keys.private_pem("ES256")),
    "DSA for RS256": lambda: ("RS256", keys.as_pem(dsa.generate_private_key(1024))),  # noqa: S505
}


class TestRefusals:
    @pytest.mark.parametrize("name", WRONG_KEYS)
    def test_a_key_that_does_not_suit_its_algorithm(self, name):
        algorithm, pem = WRONG_KEYS[name]()
        message = refusal({"ALGORITHM": algorithm, "PRIVATE_KEY": pem})
        assert message.startswith("PRIVATE_KEY is ")
        assert algorithm in message

    def test_a_curve_that_does_not_suit_is_named_with_the_one_that_does(self):
        assert refusal({"ALGORITHM": "ES256", "PRIVATE_KEY": keys.private_pem("ES384")}) == (
            "PRIVATE_KEY is on the curve secp384r1. ES256 needs an EC key on the curve secp256r1. "
            "Write one, or the ALGORITHM that suits this one."
        )

    def test_a_public_key_on_the_wrong_curve(self):
        assert refusal({"ALGORITHM": "ES384", "PUBLIC_KEY": keys.public_pem("ES256")}) == (
            "PUBLIC_KEY is on the curve secp256r1. ES384 needs an EC key on the curve secp384r1. "
            "Write one, or the ALGORITHM that suits this one."
        )

    @pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
    @pytest.mark.parametrize("bits", [1024, 2040])
    def test_a_weak_rsa_key(self, algorithm, bits):
        weak = keys.rsa_key(bits)
        expected = (
            f"has {bits} bits and {algorithm} needs 2048 (RFC 7518 section 3.3). "
            f"Write another key: `manage.py jwtauth_generate_key --algorithm {algorithm}` makes one."
        )
        public = weak.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert refusal({"ALGORITHM": algorithm, "PRIVATE_KEY": keys.as_pem(weak)}) == f"PRIVATE_KEY {expected}"
        assert refusal({"ALGORITHM": algorithm, "PUBLIC_KEY": public}) == f"PUBLIC_KEY {expected}"

    @pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
    def test_a_secret_one_byte_too_short(self, algorithm, least):
        assert Key.from_dict({"ALGORITHM": algorithm, "SECRET": "s" * least})
        assert refusal({"ALGORITHM": algorithm, "SECRET": "s" * (least - 1)}) == (
            f"SECRET has {least - 1} bytes and {algorithm} needs {least} (RFC 7518 section 3.2). "
            f"Write {least} random bytes, such as those of secrets.token_bytes({least}), kept outside the code."
        )

    @pytest.mark.parametrize(
        "secret",
        [keys.private_pem("ES256"), keys.public_pem("ES256"), json.dumps(EC_JWK), keys.public_pem("ES256").encode()],
        ids=["private PEM", "public PEM", "JWK", "bytes"],
    )
    def test_a_secret_that_is_a_key_of_another_kind(self, secret):
        assert refusal({"ALGORITHM": "HS256", "SECRET": secret}) == (
            "SECRET is a key of another kind: HS256 takes random text or bytes."
        )

    @pytest.mark.parametrize("secret", [1, ["s" * 40], {"k": "s" * 40}, object(), bytearray(40)])
    def test_a_secret_that_is_neither_text_nor_bytes(self, secret):
        assert refusal({"ALGORITHM": "HS256", "SECRET": secret}) == "SECRET is neither text nor bytes."

    @pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, PKCS1_OR_SEC1, "JWK"])
    @pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
    def test_a_private_key_where_a_public_one_belongs(self, algorithm, form):
        pem = keys.private_pem(algorithm)
        key = private_jwk(algorithm) if form == "JWK" else keys.as_pem(keys.loaded(pem), form)
        assert refusal({"ALGORITHM": algorithm, "PUBLIC_KEY": key}) == (
            "PUBLIC_KEY holds a private key. Write it as PRIVATE_KEY, or keep it off this machine."
        )

    @pytest.mark.parametrize(
        ("algorithm", "key"), [("ES256", keys.public_pem("ES256")), ("RS256", RSA_JWK), ("ES256", PUBLIC_EC_JWK)]
    )
    def test_a_public_key_where_a_private_one_belongs(self, algorithm, key):
        assert refusal({"ALGORITHM": algorithm, "PRIVATE_KEY": key}) == (
            "PRIVATE_KEY holds a public key. Write it as PUBLIC_KEY; it only verifies."
        )

    @pytest.mark.parametrize("member", ["PRIVATE_KEY", "PUBLIC_KEY"])
    def test_a_certificate(self, member):
        pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        assert refusal({"ALGORITHM": "ES256", member: pem}) == (
            f"{member} is a certificate. Write the key in it as PUBLIC_KEY: openssl x509 -in FILE -noout -pubkey"
        )

    def test_a_key_in_the_format_of_openssh(self):
        private = keys.loaded(keys.private_pem("EdDSA"))
        assert refusal({"ALGORITHM": "EdDSA", "PRIVATE_KEY": keys.as_pem(private, OPENSSH)}) == (
            "PRIVATE_KEY is in the format of OpenSSH. Write another key: `manage.py jwtauth_generate_key` makes one."
        )
        line = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        assert refusal({"ALGORITHM": "EdDSA", "PUBLIC_KEY": line}) == (
            "PUBLIC_KEY is in the format of OpenSSH. Write it as PEM: ssh-keygen -e -m PKCS8 -f FILE"
        )

    def test_der(self):
        private, der = keys.loaded(keys.private_pem("ES256")), serialization.Encoding.DER
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        assert refusal({"ALGORITHM": "ES256", "PRIVATE_KEY": private.private_bytes(der, *form)}) == (
            "PRIVATE_KEY is DER. Write it as PEM: openssl pkey -inform DER -in FILE"
        )
        public = private.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
        assert refusal({"ALGORITHM": "ES256", "PUBLIC_KEY": public}) == (
            "PUBLIC_KEY is DER. Write it as PEM: openssl pkey -pubin -inform DER -in FILE"
        )

    @pytest.mark.parametrize(
        "more", ["junk", '"', keys.private_pem("ES384"), keys.public_pem("ES256"), EC_PARAMETERS[:9]]
    )
    def test_a_pem_that_goes_on_after_the_key(self, more):
        for member, pem in (("PRIVATE_KEY", keys.private_pem), ("PUBLIC_KEY", keys.public_pem)):
            assert refusal({"ALGORITHM": "ES256", member: pem("ES256") + more}) == (
                f"{member} goes on after its first PEM block. Write the block of one key alone."
            )

    @pytest.mark.parametrize("text", [keys.private_pem("ES256"), json.dumps(EC_JWK), f" {json.dumps(EC_JWK)}"])
    def test_a_path_made_of_the_key_itself(self, text):
        assert refusal({"ALGORITHM": "ES256", "PRIVATE_KEY": Path(text)}) == (
            "PRIVATE_KEY is a Path made of the key itself. Write the key without Path()."
        )

    def test_a_jwk_set(self):
        assert refusal({"ALGORITHM": "ES256", "PUBLIC_KEY": {"keys": [PUBLIC_EC_JWK]}}) == (
            "PUBLIC_KEY is a JWK Set. Write one of its keys."
        )

    @pytest.mark.parametrize("text", ["{", "{}x", '{"kty": "EC"', "{'kty': 'EC'}", '{"a":' * 100_000, b"{\xff}"])
    def test_text_that_begins_as_a_jwk_does(self, text):
        assert refusal({"ALGORITHM": "ES256", "PRIVATE_KEY": text}) == (
            "PRIVATE_KEY begins as a JWK does but is no JSON. Write the whole JWK."
        )

    @pytest.mark.parametrize("members", [{"alg": "ES384"}, {"alg": None}, {"use": "enc"}, {"alg": "ES256", "use": "x"}])
    def test_a_jwk_that_says_it_is_for_something_else(self, members):
        assert refusal({"ALGORITHM": "ES256", "PRIVATE_KEY": {**EC_JWK, **members}}) == (
            'The "alg" or "use" of the JWK says that it is not for ES256. Write another key.'
        )

    def test_a_passphrase_for_a_jwk(self):
        assert refusal({"ALGORITHM": "ES256", "PRIVATE_KEY": EC_JWK, "PASSPHRASE": "x"}) == (
            "PASSPHRASE opens a PEM and this is a JWK. Leave it out."
        )

    def test_a_passphrase_that_is_missing_superfluous_wrong_or_of_another_type(self):
        pem = keys.private_pem("ES256")
        locked = keys.as_pem(keys.loaded(pem), passphrase=b"pass phrase")
        assert refusal(keys.entry("ES256") | {"PRIVATE_KEY": locked}) == (
            "PRIVATE_KEY is encrypted; write its PASSPHRASE."
        )
        assert refusal(keys.entry("ES256", PASSPHRASE="other")) == (
            "PRIVATE_KEY is not encrypted; leave out PASSPHRASE."
        )
        assert refusal(keys.entry("ES256", PASSPHRASE="") | {"PRIVATE_KEY": locked}) == (
            "PRIVATE_KEY is encrypted; write its PASSPHRASE."
        )
        assert refusal(keys.entry("ES256", PASSPHRASE="other") | {"PRIVATE_KEY": locked}) == (
            "PRIVATE_KEY cannot be read: it is damaged or of an unknown kind, or PASSPHRASE is not its passphrase "
            "(a line break at the end and quotation marks count)."
        )
        assert refusal(keys.entry("ES256", PASSPHRASE=5)) == "PASSPHRASE is neither text nor bytes."
        assert refusal(keys.public_entry("ES256", PASSPHRASE="other")) == (
            "PASSPHRASE opens a PRIVATE_KEY and there is none here. Leave it out."
        )

    @pytest.mark.parametrize(
        ("pem", "message"),
        [
            (EMPTY_PEM, "cannot be read: it is damaged or of an unknown kind."),
            (keys.private_pem("ES256")[:-40], "cannot be read: it is damaged or of an unknown kind."),
            ("-----BEGIN PRIVATE KEY-----", "cannot be read: it is damaged or of an unknown kind."),
            ("-----BEGIN private key-----", "cannot be read: it is damaged or of an unknown kind."),
            (EC_PARAMETERS, "cannot be read: it is damaged or of an unknown kind."),
            ("key", NO_PEM),
            (b"\x00", NO_PEM),
            ("AAAA", NO_PEM),
            (keys.private_pem("ES256").encode("utf-16"), NO_PEM),
            (5, NO_PEM),
            ([EMPTY_PEM], NO_PEM),
        ],
    )
    def test_a_private_key_that_cannot_be_read(self, pem, message):
        assert refusal({"ALGORITHM": "ES256", "PRIVATE_KEY": pem}) == f"PRIVATE_KEY {message}"

    @pytest.mark.parametrize("member", ["PRIVATE_KEY", "PUBLIC_KEY"])
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda pem: f'"{pem}"', QUOTED),
            (lambda pem: f"'{pem}'\n", QUOTED),
            (lambda pem: '"' + pem.replace("\n", "\\n") + '"', QUOTED),
            (lambda pem: f' "{pem.strip()}"'.encode(), QUOTED),
            (lambda pem: "'" + json.dumps(EC_JWK) + "'", QUOTED),
            (
                lambda pem: pem.replace("\n", "\\\\n"),
                "has its line breaks escaped twice, with two backslashes. Write one: \\n",
            ),
            (lambda pem: base64.b64encode(pem.encode()).decode(), BASE64),
            (lambda pem: base64.encodebytes(pem.encode()), BASE64),
            (lambda pem: base64.b64encode(json.dumps(EC_JWK).encode()), BASE64),
            (
                lambda pem: "".join(pem.splitlines()[1:-1]),
                "looks like a PEM without its lines BEGIN and END. Write those as well.",
            ),
            *((lambda pem, path=path: path, PATH) for path in ("key.pem", "/run/secrets/jwt", "./a", "../a b/jwt.KEY")),
            *((lambda pem, path=path: path, PATH) for path in ("~/jwt", "C:\\jwt", b"keys/jwt.pem", "keys/jwt.json\n")),
        ],
    )
    def test_the_refusal_names_what_a_spoilt_key_looks_like(self, member, spoil, message, tmp_path):
        pem = keys.private_pem("ES256") if member == "PRIVATE_KEY" else keys.public_pem("ES256")
        spoilt = spoil(pem)
        path = tmp_path / "key"
        path.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
        for material in (spoilt, path):
            assert refusal({"ALGORITHM": "ES256", member: material}) == f"{member} {message}"

    def test_a_public_key_that_cannot_be_read(self):
        damaged = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
        assert refusal({"ALGORITHM": "ES256", "PUBLIC_KEY": damaged}) == (
            "PUBLIC_KEY cannot be read: it is damaged or of an unknown kind."
        )

    def test_a_file_that_is_not_there(self, tmp_path):
        path = tmp_path / "key.pem"
        assert refusal({"ALGORITHM": "ES256", "PRIVATE_KEY": path}) == (
            f"PRIVATE_KEY: the file {path} cannot be read (No such file or directory). Write a path to a PEM file."
        )

    def test_a_path_that_may_be_the_key_in_base64_is_not_repeated(self):
        der = keys.loaded(keys.private_pem("ES256")).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for text in (base64.b64encode(der).decode(), "x" * 300):
            with pytest.raises(UnusableKeyError) as caught:
                Key.from_dict({"ALGORITHM": "ES256", "PRIVATE_KEY": Path(text)})
            assert "PRIVATE_KEY: the file of its Path cannot be read" in str(caught.value)
            assert text not in "".join(traceback.format_exception(caught.value))

    def test_a_file_that_holds_something_else(self, tmp_path):
        path = tmp_path / "key.pem"
        path.write_bytes(b"\xff\xfe not a key")
        for member in ("PRIVATE_KEY", "PUBLIC_KEY"):
            assert refusal({"ALGORITHM": "ES256", member: path}) == f"{member} {NO_PEM}"

    @pytest.mark.parametrize(
        "jwk",
        [
            {"kty": "EC"},
            {"kty": "oct", "k": "AAAA"},
            {"kty": ["EC"]},
            {**EC_JWK, "x": 1},
            {**EC_JWK, "x": "AAAA"},
            {**EC_JWK, "y": EC_JWK["x"]},
            {**EC_JWK, "crv": "P-384"},
            keys.without(RSA_JWK, "alg"),
            ED25519_JWK,
        ],
    )
    def test_a_jwk_that_is_no_key_for_the_algorithm(self, jwk):
        for member in ("PRIVATE_KEY", "PUBLIC_KEY"):
            assert refusal({"ALGORITHM": "ES256", member: jwk}) == (
                "The JWK is no key for ES256. ES256 needs an EC key on the curve secp256r1. "
                "Write one, or the ALGORITHM that suits this one."
            )

    @pytest.mark.parametrize("algorithm", [None, "none", "hs256", "ES256K", "Ed25519", 256, ["HS256"], {}, ""])
    def test_an_unknown_algorithm(self, algorithm):
        assert refusal({"ALGORITHM": algorithm, "SECRET": "s" * 64}) == (
            "ALGORITHM is not one of ours. Write one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, "
            "ES256, ES384, ES512, EdDSA."
        )

    @pytest.mark.parametrize("entry", [None, "key", 5, [], keys.private_pem("ES256"), [("ALGORITHM", "HS256")]])
    def test_an_entry_that_is_no_dict(self, entry):
        assert refusal(entry) == (
            'The key is not a dict. Write {"ALGORITHM": "ES256", "PRIVATE_KEY": Path("key.pem")}.'
        )

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("PRIVATE", "Did you mean 'PRIVATE_KEY'?"),
            ("algorithm", "Did you mean 'ALGORITHM'?"),
            (
                1,
                "The members of a key are: ALGORITHM, KID, PRIVATE_KEY, PUBLIC_KEY, PASSPHRASE, SECRET.",
            ),
        ],
    )
    def test_an_unknown_member_is_told_with_the_one_meant(self, name, hint):
        assert refusal({**keys.entry("HS256"), name: "x"}) == f"Unknown member '{name}'. {hint}"

    @pytest.mark.parametrize(
        ("entry", "material"),
        [
            ({"ALGORITHM": "HS256"}, "HS256 takes SECRET"),
            ({"ALGORITHM": "HS256", "SECRET": ""}, "HS256 takes SECRET"),
            ({"ALGORITHM": "HS256", "PRIVATE_KEY": EMPTY_PEM}, "HS256 takes SECRET"),
            ({"ALGORITHM": "HS256", "SECRET": "s" * 32, "PUBLIC_KEY": EMPTY_PEM}, "HS256 takes SECRET"),
            ({"ALGORITHM": "ES256"}, "ES256 takes PRIVATE_KEY or PUBLIC_KEY"),
            ({"ALGORITHM": "ES256", "SECRET": "s" * 32}, "ES256 takes PRIVATE_KEY or PUBLIC_KEY"),
            ({"ALGORITHM": "ES256", "PRIVATE_KEY": None}, "ES256 takes PRIVATE_KEY or PUBLIC_KEY"),
            (
                {"ALGORITHM": "ES256", "PRIVATE_KEY": EMPTY_PEM, "PUBLIC_KEY": EMPTY_PEM},
                "ES256 takes PRIVATE_KEY or PUBLIC_KEY",
            ),
        ],
    )
    def test_material_of_the_wrong_kind_or_number(self, entry, material):
        assert refusal(entry) == f"{material}, exactly one and not empty."

    @pytest.mark.parametrize(
        "entry",
        [
            {"ALGORITHM": "HS256", "SECRET": "\ud800" * 40},
            {"ALGORITHM": "ES256", "PRIVATE_KEY": f"{EMPTY_PEM}\ud800"},
            {"ALGORITHM": "ES256", "PUBLIC_KEY": f"{EMPTY_PEM}\ud800"},
            {"ALGORITHM": "ES256", "PRIVATE_KEY": EMPTY_PEM, "PASSPHRASE": "\ud800"},
            {"ALGORITHM": "ES256", "PRIVATE_KEY": Path("key\0.pem")},
            {"ALGORITHM": "ES256", "PRIVATE_KEY": Path("\ud800.pem")},
            {"ALGORITHM": "HS256", "SECRET": "[" * 100_000 + "s"},
            {"ALGORITHM": "RS256", "PUBLIC_KEY": {"kty": "RSA", "n": "", "e": ""}},
            {"ALGORITHM": "RS256", "PRIVATE_KEY": {"kty": "RSA", "n": "AQ", "e": "AQ", "d": "AQ"}},
            {"ALGORITHM": "EdDSA", "PUBLIC_KEY": {"kty": "OKP", "crv": "Ed25519", "x": None}},
            {"ALGORITHM": "EdDSA", "PUBLIC_KEY": {1: 2}},
            {None: None},
        ],
    )
    def test_nothing_but_unusable_key_error_is_raised(self, entry):
        if entry.get("SECRET", "").startswith("["):
            # Long and nested, but random text for all that is known.
            assert Key.from_dict(entry).is_symmetric
        else:
            assert refusal(entry)


def entries_with_material():
    """Entries that are refused, and what their refusals must not contain."""
    pem, locked = keys.private_pem("ES256"), keys.as_pem(keys.loaded(keys.private_pem("ES256")), passphrase=b"opens-it")
    yield {"ALGORITHM": "ES384", "PRIVATE_KEY": pem}, pem
    yield {"ALGORITHM": "ES256", "PUBLIC_KEY": pem}, pem
    yield {"ALGORITHM": "HS256", "SECRET": pem}, pem
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": pem[:-60]}, pem
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": pem[30:]}, pem
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": f"{pem}\ud800"}, pem
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": pem, "PASSPHRASE": "opens-it"}, "opens-it"
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": pem, "PASSPHRASE": "opens-it\ud800"}, "opens-it"
    yield {"ALGORITHM": "ES384", "PRIVATE_KEY": locked, "PASSPHRASE": "opens-it"}, "opens-it"
    yield {"ALGORITHM": "ES256", "SECRET": "too-short-a-secret"}, "too-short-a-secret"
    yield {"ALGORITHM": "HS256", "SECRET": "too-short-a-secret"}, "too-short-a-secret"
    yield {"ALGORITHM": "HS256", "SECRET": "not-an-encodable-secret-\ud800"}, "not-an-encodable-secret"
    yield {"ALGORITHM": "ES384", "PRIVATE_KEY": EC_JWK}, EC_JWK["d"]
    yield {"ALGORITHM": "ES256", "PUBLIC_KEY": EC_JWK}, EC_JWK["d"]
    yield {"ALGORITHM": pem, "PRIVATE_KEY": pem}, pem
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": pem + pem}, pem
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": Path(pem)}, pem
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": Path(json.dumps(EC_JWK))}, EC_JWK["d"]
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": json.dumps(EC_JWK)[:-1]}, EC_JWK["d"]
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": {**EC_JWK, "crv": EC_JWK["d"]}}, EC_JWK["d"]
    yield {"ALGORITHM": "ES256", "PRIVATE_KEY": {**EC_JWK, "kid": ["x"]}}, EC_JWK["d"]
    yield EC_JWK, EC_JWK["d"]


@pytest.mark.parametrize(("entry", "material"), list(entries_with_material()))
def test_no_refusal_contains_key_material(entry, material):
    with pytest.raises(UnusableKeyError) as caught:
        Key.from_dict(entry)
    shown, error = "", caught.value
    while error is not None:
        shown += f"{error} {error.args}"
        error = error.__cause__
    fragments = {line for line in material.splitlines() if not line.startswith("-----")}
    assert not any(fragment in shown for fragment in fragments)


class TestJwk:
    @pytest.mark.parametrize("algorithm", keys.ASYMMETRIC)
    def test_has_public_members_only(self, algorithm):
        members = {
            "RS": {"kty", "n", "e"},
            "PS": {"kty", "n", "e"},
            "ES": {"kty", "crv", "x", "y"},
            "Ed": {"kty", "crv", "x"},
        }
        jwk = keys.key(algorithm).public_jwk()
        assert set(jwk) == members[algorithm[:2]] | {"kid", "use", "alg"}
        assert (jwk["kid"], jwk["use"], jwk["alg"]) == (keys.key(algorithm).kid, "sig", algorithm)

    @pytest.mark.parametrize("algorithm", keys.ASYMMETRIC)
    def test_verifies_what_the_key_signed(self, algorithm):
        key = keys.key(algorithm)
        jwk = jwt.PyJWK(key.public_jwk())
        assert jwk.Algorithm.verify(b"data", jwk.key, key.sign(b"data"))

    @pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
    def test_of_a_secret_is_refused(self, algorithm):
        with pytest.raises(UnusableKeyError, match=r"^A secret is never published\.$"):
            keys.key(algorithm).public_jwk()


class TestKeyRing:
    def test_the_first_key_that_can_sign_signs(self):
        public = Key.from_dict(keys.public_entry("ES256"))
        first, second = keys.key("EdDSA"), keys.key("HS256")
        assert KeyRing([public, first, second]).signing_key is first
        assert KeyRing([public, second, first]).signing_key is second

    def test_a_ring_of_public_keys_cannot_sign(self):
        assert KeyRing([Key.from_dict(keys.public_entry("ES256"))]).signing_key is None
        assert KeyRing([]).signing_key is None

    def test_keys_are_found_by_kid(self):
        ring = KeyRing([keys.key("ES256"), keys.key("EdDSA")])
        assert ring.by_kid == {keys.key("ES256").kid: keys.key("ES256"), keys.key("EdDSA").kid: keys.key("EdDSA")}

    def test_two_keys_with_one_kid_are_refused(self):
        same = [Key.from_dict(keys.entry(algorithm, KID="same")) for algorithm in ("HS256", "EdDSA")]
        with pytest.raises(UnusableKeyError, match=r"^Two keys have the same KID\. Give each key a KID of its own\.$"):
            KeyRing(same)

    def test_the_same_key_twice_is_refused(self):
        with pytest.raises(UnusableKeyError, match="same KID"):
            KeyRing([keys.key("ES256"), Key.from_dict(keys.public_entry("ES256"))])

    def test_the_jwk_set_holds_all_public_keys_in_order_and_no_secret(self):
        ring = KeyRing([keys.key("HS256"), keys.key("EdDSA"), Key.from_dict(keys.public_entry("RS256"))])
        assert ring.jwk_set == {"keys": [keys.key("EdDSA").public_jwk(), keys.key("RS256").public_jwk()]}

    def test_the_jwk_set_of_secrets_is_empty(self):
        assert KeyRing([keys.key("HS256")]).jwk_set == {"keys": []}

    def test_no_private_member_is_in_the_jwk_set(self):
        ring = KeyRing([Key.from_dict(keys.entry(algorithm, KID=algorithm)) for algorithm in ALGORITHMS])
        assert len(ring.jwk_set["keys"]) == len(keys.ASYMMETRIC)
        for jwk in ring.jwk_set["keys"]:
            assert set(jwk).isdisjoint({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "key_ops"})


class TestConfiguredRing:
    def test_is_derived_from_the_secret_key_by_default(self, settings):
        settings.SECRET_KEY = "current"
        (key,) = configured_ring().keys
        derived = salted_hmac("django_jwtauth.access_token", "HS256", secret="current", algorithm="sha256").digest()
        assert (key.algorithm, key.signing_key, len(key.kid)) == ("HS256", derived, 8)

    def test_fallbacks_verify_and_do_not_sign(self, settings):
        settings.SECRET_KEY = "old"
        old = configured_ring().signing_key
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old", "older"]
        ring = configured_ring()
        assert len(ring.keys) == 3
        assert ring.signing_key is ring.keys[0]
        assert ring.signing_key.kid != old.kid
        assert ring.by_kid[old.kid].verify(b"data", old.sign(b"data"))

    def test_a_fallback_that_is_the_secret_key_does_no_harm(self, settings):
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        assert len(configured_ring().keys) == 1

    def test_a_secret_key_that_is_no_unicode_will_do(self, settings):
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "\udcff" * 50, []
        assert configured_ring().signing_key is not None

    def test_nothing_of_it_is_published(self):
        assert configured_ring().jwk_set == {"keys": []}

    def test_has_the_signing_keys_in_their_order(self, settings):
        entries = [keys.public_entry("RS256"), keys.entry("ES256"), keys.entry("EdDSA")]
        settings.JWTAUTH = {"ISSUER": keys.ISSUER, "SIGNING_KEYS": entries}
        ring = configured_ring()
        assert [key.algorithm for key in ring.keys] == ["RS256", "ES256", "EdDSA"]
        assert ring.signing_key.kid == keys.key("ES256").kid

    def test_the_derived_keys_stand_beside_others_where_their_place_says_so(self, settings):
        settings.SECRET_KEY_FALLBACKS = ["old"]
        derived = configured_ring().keys
        others = keys.entry("ES256"), keys.entry("EdDSA")
        settings.JWTAUTH = {"ISSUER": keys.ISSUER, "SIGNING_KEYS": [others[0], "SECRET_KEY", others[1]]}
        kids = [key.kid for key in configured_ring().keys]
        assert kids == [keys.key("ES256").kid, *(key.kid for key in derived), keys.key("EdDSA").kid]

    def test_the_name_of_the_secret_key_alone_is_the_default(self, settings):
        by_default = configured_ring().signing_key
        settings.JWTAUTH = {"ISSUER": keys.ISSUER, "SIGNING_KEYS": ["SECRET_KEY"]}
        assert configured_ring().signing_key.verify(b"data", by_default.sign(b"data"))

    def test_a_key_that_cannot_be_used_is_improperly_configured(self, settings):
        settings.JWTAUTH = {"ISSUER": keys.ISSUER, "SIGNING_KEYS": [{"ALGORITHM": "HS256", "SECRET": "short"}]}
        with pytest.raises(ImproperlyConfigured, match=r"^SIGNING_KEYS: SECRET has 5 bytes and HS256 needs"):
            configured_ring()


SIGNING_KEYS = [keys.entry("ES256"), {"ALGORITHM": "HS256", "SECRET": "s" * 31}]
OTHER = {"AUDIENCE": "x", "TYP": "JWT"}
MIXED_UP = [{"ALGORITHM": "ES256", "PUBLIC_KEY": keys.private_pem("ES256")}]
SECRETS = [{"ALGORITHM": "HS256", "SECRET": "s" * 31}]


@pytest.mark.parametrize(
    ("raised_in", "changes"),
    [
        ("configured_ring", {"SECRET_KEY_FALLBACKS": [""]}),
        ("configured_ring", {"JWTAUTH": {"ISSUER": "x", "SIGNING_KEYS": SIGNING_KEYS}}),
        ("get_config", {"JWTAUTH": {"ISUER": "x", "SIGNING_KEYS": SIGNING_KEYS}}),
        (
            "trusted_issuers",
            {"JWTAUTH": {"TRUSTED_ISSUERS": {"https://o": {**OTHER, "KEYS": MIXED_UP}}}},
        ),
        ("trusted_issuers", {"JWTAUTH": {"TRUSTED_ISSUERS": {"https://o": {**OTHER, "KEYS": SECRETS}}}}),
    ],
)
def test_an_error_report_about_a_mistake_shows_no_key(settings, raised_in, changes):
    for name, value in changes.items():
        setattr(settings, name, value)
    try:
        get_codec()
    except ImproperlyConfigured as error:
        below = error.with_traceback(error.__traceback__.tb_next)
        report = ExceptionReporter(None, type(below), below, below.__traceback__).get_traceback_html()
    assert raised_in in report
    for secret in (settings.SECRET_KEY, "s" * 31, "PRIVATE KEY-----"):
        assert secret not in report


@pytest.mark.parametrize(("load", "has_entry"), [(Key.from_dict, True), (load_keys, True), (secret_keys, False)])
def test_an_error_report_shows_no_key_whoever_loads_it(settings, load, has_entry):
    settings.SECRET_KEY_FALLBACKS = [""]
    with pytest.raises(UnusableKeyError) as caught:
        load(*[{"ALGORITHM": "HS256", "SECRET": "s" * 31}] * has_entry)
    report = ExceptionReporter(None, caught.type, caught.value, caught.tb.tb_next).get_traceback_html()
    assert load.__name__ in report
    for secret in (settings.SECRET_KEY, "s" * 31):
        assert secret not in report


class TestGeneratePrivateKey:
    @pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
    def test_each_call_makes_another_key(self, algorithm):
        assert generate_private_key(algorithm) != generate_private_key(algorithm)

    @pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
    def test_an_rsa_key_has_3072_bits(self, algorithm):
        pem = generate_private_key(algorithm)
        assert pem.startswith("-----BEGIN PRIVATE KEY-----\n")
        assert Key.from_dict({"ALGORITHM": algorithm, "PRIVATE_KEY": pem}).signing_key.key_size == 3072


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_is_loaded_once_however_often_it_is_used(algorithm, monkeypatch):
    loads = []

    def counted(name):
        original = getattr(serialization, name)
        return lambda *args: loads.append(name) or original(*args)

    for name in ("load_pem_private_key", "load_pem_public_key"):
        monkeypatch.setattr(serialization, name, counted(name))
    key = Key.from_dict(keys.entry(algorithm))
    loaded = len(loads)
    for _ in range(3):
        assert key.verify(b"data", key.sign(b"data"))
    assert len(loads) == loaded == (0 if key.is_symmetric else 1)


def test_the_vector_of_rfc_8037():
    # Appendix A.4
    key = Key.from_dict({"ALGORITHM": "EdDSA", "PRIVATE_KEY": ED25519_JWK})
    assert isinstance(key.signing_key, ed25519.Ed25519PrivateKey)
    assert b64url_encode(key.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc")) == (
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
