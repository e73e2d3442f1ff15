"""Fetched keys: when they are fetched, how long they are good, who waits, and what a hostile document can do."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import warnings
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from django_jwtauth.errors import IssuerUnavailableError
from django_jwtauth.issuers import jwks as module
from django_jwtauth.issuers.download import DownloadError
from django_jwtauth.issuers.jwks import COOL_DOWN, LONGEST_AGE, REFETCH_AGE, RETRY, FetchedRing
from django_jwtauth.issuers.trusted import trusted_issuers
from django_jwtauth.jose.encoding import b64url_encode
from django_jwtauth.jose.jwk_set import ASYMMETRIC, read_jwk_set
from django_jwtauth.process.reloading import MAX_LOAD_SECONDS, REFRESH_AT
from django_jwtauth.tokens.access import get_codec
from tests.support import keys
from tests.support.clocks import Clocks
from tests.support.publisher import ISS, finish_fetches, jwk_set, named, publisher

URL = "https://other.example.com/jwks.json"
OLD, NEW = named("ES256", "old"), named("ES256", "new", "another")
FLOOD = 5000


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


class Issuer:
    """Stands in for the server of an issuer: ``document`` or ``error`` is its answer, given while it is not held."""

    def __init__(self):
        self.fetches = 0
        self.error = None
        self.free = threading.Event()
        self.free.set()
        self.publish(OLD)

    def publish(self, *published):
        self.document = jwk_set(*published)

    def download(self, url):
        self.fetches += 1
        assert self.free.wait(10)
        if self.error:
            raise self.error
        return self.document


@pytest.fixture
def issuer(monkeypatch):
    issuer = Issuer()
    monkeypatch.setattr(module, "download", issuer.download)
    yield issuer
    issuer.free.set()
    finish_fetches()


@pytest.fixture
def ring(issuer):
    return FetchedRing(ISS, URL, ASYMMETRIC)


@pytest.fixture
def _impatient(monkeypatch):
    """Requests wait, but not long."""
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0.05)


def ring_of_this_process():
    return trusted_issuers()[ISS].ring


def is_same(key, other):
    return key is not None and key.public_jwk() == other.public_jwk()


def refused(ring, kid):
    """Whether it is told that the issuer has no such key."""
    return ring.find(kid) is None


def unavailable(ring, kid="old"):
    try:
        ring.find(kid)
    except IssuerUnavailableError:
        return True
    return False


class TestFirst:
    def test_nothing_is_fetched_before_a_key_is_asked_for(self, ring, issuer):
        assert issuer.fetches == 0
        assert is_same(ring.find("old"), OLD)
        assert issuer.fetches == 1

    def test_it_is_fetched_once_however_many_ask(self, ring, issuer):
        issuer.free.clear()
        found = []
        threads = [threading.Thread(target=lambda: found.append(ring.find("old"))) for _ in range(20)]
        for thread in threads:
            thread.start()
        issuer.free.set()
        for thread in threads:
            thread.join()
        assert issuer.fetches == 1
        assert len(found) == 20
        assert all(is_same(key, OLD) for key in found)

    @pytest.mark.usefixtures("_impatient")
    def test_a_request_waits_for_it_but_not_for_ever(self, ring, issuer):
        issuer.free.clear()
        assert unavailable(ring)
        issuer.free.set()
        finish_fetches()
        assert is_same(ring.find("old"), OLD)
        assert issuer.fetches == 1

    def test_where_it_fails_it_is_tried_again_after_a_pause(self, ring, issuer, clocks):
        issuer.error = ConnectionRefusedError()
        assert unavailable(ring)
        finish_fetches()
        clocks.pass_(RETRY - 0.5)
        for _ in range(100):
            assert unavailable(ring)
            assert unavailable(ring, "made up")
        assert issuer.fetches == 1

    def test_the_first_request_after_its_recovery_is_answered(self, ring, issuer, clocks):
        issuer.error = ConnectionRefusedError()
        assert unavailable(ring)
        issuer.error = None
        clocks.pass_(RETRY)
        assert is_same(ring.find("old"), OLD)
        assert issuer.fetches == 2

    @pytest.mark.usefixtures("_impatient")
    def test_while_it_hangs_no_request_waits_longer_than_it_may(self, ring, issuer, clocks):
        issuer.free.clear()
        for _ in range(10):
            assert unavailable(ring)
        assert issuer.fetches == 1
        clocks.pass_(MAX_LOAD_SECONDS + 1)
        assert unavailable(ring)
        assert issuer.fetches == 2

    def test_an_empty_answer_is_no_set(self, ring, issuer):
        issuer.document = b""
        assert unavailable(ring)

    @pytest.mark.usefixtures("_impatient")
    def test_a_thread_that_cannot_be_had_is_a_failure(self, ring, issuer, clocks, monkeypatch):
        def start(thread):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            assert unavailable(ring)
        issuer.free.clear()
        clocks.pass_(RETRY)
        assert unavailable(ring)
        issuer.free.set()
        finish_fetches()
        assert is_same(ring.find("old"), OLD)


class TestAge:
    def test_a_set_is_good_for_a_while(self, ring, issuer, clocks):
        key = ring.find("old")
        clocks.pass_(REFRESH_AT[0] * REFETCH_AGE - 1)
        assert ring.find("old") is ring.by_kid["old"] is key
        assert issuer.fetches == 1

    def test_then_it_is_fetched_while_requests_go_on_with_it(self, ring, issuer, clocks):
        key = ring.find("old")
        issuer.free.clear()
        issuer.publish(NEW)
        clocks.pass_(REFRESH_AT[1] * REFETCH_AGE)
        for _ in range(10):
            assert ring.find("old") is ring.by_kid["old"] is key
        issuer.free.set()
        finish_fetches()
        assert issuer.fetches == 2
        assert list(ring.by_kid) == ["new"]

    @pytest.mark.parametrize("clock", ["monotonic", "wall"])
    def test_a_removed_key_is_refused_at_the_age_by_whichever_clock(self, ring, issuer, clocks, clock):
        ring.find("old")
        issuer.publish(NEW)
        setattr(clocks, clock, getattr(clocks, clock) + REFETCH_AGE + 1)
        assert list(ring.by_kid) == ["new"]
        assert refused(ring, "old")
        assert issuer.fetches == 2

    def test_the_age_counts_from_before_the_fetch(self, ring, issuer, clocks):
        def ask():
            # It has waited long enough if the clock moves before it begins to wait.
            with suppress(IssuerUnavailableError):
                ring.find("old")

        issuer.free.clear()
        asking = threading.Thread(target=ask)
        asking.start()
        while not issuer.fetches:
            time.sleep(0.001)
        clocks.pass_(REFETCH_AGE + 1)
        issuer.free.set()
        asking.join()
        issuer.publish(NEW)
        assert list(ring.by_kid) == ["new"]

    @pytest.mark.usefixtures("_impatient")
    def test_whoever_waited_in_vain_goes_on_with_the_last_set(self, ring, issuer, clocks):
        key = ring.find("old")
        issuer.free.clear()
        clocks.pass_(REFETCH_AGE + 1)
        assert ring.find("old") is key

    @pytest.mark.usefixtures("_impatient")
    def test_an_issuer_that_is_down_is_asked_again_after_a_pause_and_its_last_set_is_used(self, ring, issuer, clocks):
        key = ring.find("old")
        issuer.error = TimeoutError()
        clocks.pass_(REFETCH_AGE + 1)
        assert ring.find("old") is key
        finish_fetches()
        assert issuer.fetches == 2
        issuer.free.clear()
        clocks.pass_(COOL_DOWN)
        for _ in range(100):
            assert ring.find("old") is key
        issuer.free.set()
        finish_fetches()
        assert issuer.fetches == 3
        clocks.pass_(COOL_DOWN - 0.5)
        assert ring.find("old") is key
        assert issuer.fetches == 3

    def test_its_last_set_is_used_for_a_day_and_no_longer(self, ring, issuer, clocks):
        key = ring.find("old")
        issuer.error = TimeoutError()
        clocks.pass_(LONGEST_AGE)
        assert ring.find("old") is key
        clocks.pass_(1)
        assert unavailable(ring)
        with pytest.raises(IssuerUnavailableError):
            ring.by_kid  # noqa: B018
        finish_fetches()
        issuer.error = None
        issuer.free.clear()
        clocks.pass_(COOL_DOWN)
        assert unavailable(ring)
        issuer.free.set()
        finish_fetches()
        assert is_same(ring.find("old"), OLD)

    def test_what_was_fetched_unchanged_keeps_its_keys(self, ring, issuer, clocks):
        key = ring.find("old")
        clocks.pass_(REFETCH_AGE + 1)
        assert ring.find("old") is key
        assert issuer.fetches == 2
        clocks.pass_(REFRESH_AT[0] * REFETCH_AGE - 1)
        assert ring.find("old") is key
        assert issuer.fetches == 2

    def test_an_empty_set_is_the_truth(self, ring, issuer, clocks):
        ring.find("old")
        issuer.publish()
        clocks.pass_(REFETCH_AGE + 1)
        assert ring.by_kid == {}
        assert refused(ring, "old")


class TestUnknownIds:
    def test_are_refused_without_a_fetch_right_after_one(self, ring, issuer):
        ring.find("old")
        assert refused(ring, "made up")
        assert issuer.fetches == 1

    def test_a_new_key_is_found_by_the_first_request_that_names_it(self, ring, issuer, clocks):
        ring.find("old")
        issuer.publish(OLD, NEW)
        clocks.pass_(COOL_DOWN)
        assert is_same(ring.find("new"), NEW)
        assert issuer.fetches == 2

    def test_a_flood_fetches_once_in_each_cool_down(self, ring, issuer, clocks):
        key = ring.find("old")
        clocks.pass_(COOL_DOWN)
        for number in range(FLOOD):
            assert refused(ring, f"made up {number}")
            assert ring.find("old") is key
        assert issuer.fetches == 2
        clocks.pass_(COOL_DOWN - 0.5)
        assert refused(ring, "made up")
        assert issuer.fetches == 2
        clocks.pass_(0.5)
        assert refused(ring, "made up")
        assert issuer.fetches == 3

    @pytest.mark.usefixtures("_impatient")
    def test_only_the_one_that_starts_a_fetch_waits_and_none_is_called_invalid_meanwhile(self, ring, issuer, clocks):
        key = ring.find("old")
        issuer.free.clear()
        issuer.publish(OLD, NEW)
        clocks.pass_(COOL_DOWN)
        assert unavailable(ring, "new")
        for _ in range(FLOOD):
            assert unavailable(ring, "new")
        assert ring.find("old") is key
        issuer.free.set()
        finish_fetches()
        assert is_same(ring.find("new"), NEW)
        assert issuer.fetches == 2

    @pytest.mark.usefixtures("_impatient")
    def test_one_that_meets_the_fetch_by_age_is_not_called_invalid(self, ring, issuer, clocks):
        ring.find("old")
        issuer.publish(NEW)
        clocks.pass_(REFRESH_AT[1] * REFETCH_AGE)
        assert is_same(ring.find("new"), NEW)
        assert issuer.fetches == 2

    def test_nobody_can_tell_while_the_issuer_is_down(self, ring, issuer, clocks):
        key = ring.find("old")
        issuer.error = TimeoutError()
        clocks.pass_(COOL_DOWN)
        for _ in range(100):
            assert unavailable(ring, "made up")
        assert ring.find("old") is key
        assert issuer.fetches == 2


class TestLogs:
    def test_a_failure_is_told_without_what_was_sent(self, ring, issuer, clocks, caplog):
        secret = b"a secret document"
        for error, told in [
            (ConnectionRefusedError("a secret"), "ConnectionRefusedError"),
            (DownloadError("the answer has status 404"), "the answer has status 404"),
            (None, "it is no JSON object"),
        ]:
            issuer.error, issuer.document = error, secret
            assert unavailable(ring)
            finish_fetches()
            record = caplog.records[-1]
            assert (record.name, record.levelno) == ("django_jwtauth", logging.WARNING)
            assert record.getMessage() == f"The keys of the issuer {ISS!r} could not be fetched: {told}."
            clocks.pass_(RETRY)
        assert "secret" not in caplog.text

    def test_a_key_that_is_left_out_is_told_once(self, ring, issuer, clocks, caplog):
        issuer.document = json.dumps(
            {"keys": [OLD.public_jwk(), {"kid": "k" * 20, "kty": "oct", "k": "secret"}]}
        ).encode()
        ring.find("old")
        clocks.pass_(REFETCH_AGE + 1)
        ring.find("old")
        (record,) = caplog.records
        assert record.getMessage() == (
            f"Key 1 in the JWK Set of the issuer {ISS!r} is not used: It is secret, and everybody can read it."
        )
        assert "kkkk" not in caplog.text


class TestDocuments:
    """A document that is no JWK Set fails the fetch; a key that is not usable is left out, and the others are used."""

    def read(self, *entries, algorithms=ASYMMETRIC):
        return read_jwk_set(json.dumps({"keys": list(entries)}).encode(), algorithms, ISS)

    @pytest.mark.parametrize(
        "document",
        [
            *(b"", b"[]", b"null", b"1", b'"keys"', b"{", b"{}", b'{"keys": {}}', b'{"keys": null}', b'{"keys": "x"}'),
            *(
                b"\xff",
                b'\xef\xbb\xbf{"keys": []}',
                '{"keys": []}'.encode("utf-16"),
                b'{"keys": []} {}',
                b"<html></html>",
            ),
            *(
                b'{"keys": [], "keys": []}',
                b'{"keys": [NaN]}',
                b'{"keys": ' + b"[" * 20_000,
                b'{"keys": [' + b"9" * 5000 + b"]}",
            ),
        ],
    )
    def test_what_is_no_jwk_set_is_an_error(self, document):
        with pytest.raises(ValueError, match=r"^it is no "):
            read_jwk_set(document, ASYMMETRIC, ISS)

    @pytest.mark.parametrize("algorithm", ASYMMETRIC)
    def test_a_key_of_every_algorithm_is_read(self, algorithm):
        key = keys.key(algorithm)
        (read,) = self.read(key.public_jwk()).values()
        assert (read.kid, read.algorithm, read.signing_key) == (key.kid, algorithm, None)
        assert read.verify(b"data", key.sign(b"data"))

    def test_other_members_are_ignored(self):
        jwk = {**OLD.public_jwk(), "x5c": ["MII…"], "x5t": "x", "issuer": "https://x", "own": [{"a": 1}]}
        assert is_same(self.read(jwk)["old"], OLD)

    @pytest.mark.parametrize(
        "changes",
        [
            {"use": "enc"},
            {"use": None},
            {"use": ["sig"]},
            {"key_ops": []},
            {"key_ops": ["sign"]},
            {"key_ops": "verify"},
            {"key_ops": None},
            {"kid": None},
            {"kid": ""},
            {"kid": 1},
            {"kid": ["old"]},
            {"kid": "a\nb"},
            {"kid": "\ud800"},
            {"d": "AAAA"},
            {"k": "AAAA"},
            {"alg": "ES384"},
            {"alg": "HS256"},
            {"alg": "none"},
            {"alg": None},
            {"alg": ["ES256"]},
            {"kty": "oct"},
            {"kty": "RSA"},
            {"kty": None},
            {"kty": ["EC"]},
            {"crv": "P-384"},
            {"crv": "secp256k1"},
            {"crv": None},
            {"crv": {"a": 1}},
            {"x": None},
            {"x": 1},
            {"x": ""},
            {"x": "AAAA"},
            {"x": "é"},
            {"y": "A" * 43},
        ],
    )
    def test_a_key_that_is_not_for_this_is_left_out(self, changes):
        assert list(self.read({**OLD.public_jwk(), **changes}, NEW.public_jwk())) == ["new"]

    @pytest.mark.parametrize("entry", [None, 1, "x", [], {}, {"kid": "a"}, [{}], {"kid": "a", "kty": "EC"}])
    def test_what_is_no_key_is_left_out(self, entry):
        assert list(self.read(entry, NEW.public_jwk())) == ["new"]

    @pytest.mark.parametrize("kty", ["EC P-256", "OKP Ed25519", "AKP", "RSA ", "", " ", 1, [], {}, True, None])
    @pytest.mark.parametrize("crv", [None, "P-256", "Ed25519", 1, [], {}, ...])
    def test_a_key_of_an_odd_kind_is_left_out_alone(self, kty, crv):
        odd = {"kid": "odd", "kty": kty, "crv": crv}
        odd = {name: value for name, value in odd.items() if value is not ...}
        assert list(self.read(odd, NEW.public_jwk())) == ["new"]

    def test_whatever_reading_a_key_raises_costs_that_key_alone(self, caplog, monkeypatch):
        read = module.Key.from_dict

        def fail_for_old(entry):
            if entry["KID"] == "old":
                raise ArithmeticError("k" * 20)
            return read(entry)

        monkeypatch.setattr(module.Key, "from_dict", fail_for_old)
        assert list(self.read(OLD.public_jwk(), NEW.public_jwk())) == ["new"]
        assert "Key 0 in the JWK Set" in caplog.text
        assert "kkkk" not in caplog.text

    def test_operations_that_name_verify_are_fine(self):
        assert list(self.read({**OLD.public_jwk(), "key_ops": ["verify", "sign"]})) == ["old"]

    def test_keys_that_share_an_id_are_left_out_all_of_them(self, caplog):
        twin = named("ES256", "old", "twin")
        assert list(self.read(OLD.public_jwk(), twin.public_jwk(), NEW.public_jwk())) == ["new"]
        assert "they share an id" in caplog.text

    def test_an_id_shared_with_a_key_for_encryption_is_no_matter(self):
        twin = {**named("ES256", "old", "twin").public_jwk(), "use": "enc"}
        assert is_same(self.read(twin, OLD.public_jwk())["old"], OLD)

    @pytest.mark.parametrize("algorithm", ASYMMETRIC)
    def test_an_algorithm_that_is_not_listed_is_left_out(self, algorithm):
        others = tuple(name for name in ASYMMETRIC if name != algorithm)
        assert self.read(keys.key(algorithm).public_jwk(), algorithms=others) == {}

    def test_an_rsa_key_without_algorithm_needs_the_one_of_the_settings(self, caplog):
        key = keys.key("PS256")
        jwk = keys.without(key.public_jwk(), "alg")
        assert self.read(jwk) == {}
        assert 'Write the one, such as "ALGORITHMS": ["RS256"].' in caplog.text
        assert self.read(jwk, algorithms=("RS256", "PS256")) == {}
        (read,) = self.read(jwk, algorithms=("ES256", "PS256")).values()
        assert read.algorithm == "PS256"

    @pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA"])
    def test_another_key_without_algorithm_has_the_one_of_its_curve(self, algorithm):
        (read,) = self.read(keys.without(keys.key(algorithm).public_jwk(), "alg")).values()
        assert read.algorithm == algorithm

    def rsa_jwk(self, n, e=65537):
        def number(value):
            return b64url_encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))

        return {"kty": "RSA", "alg": "RS256", "kid": "rsa", "n": number(n), "e": number(e)}

    @pytest.mark.parametrize("bits", [1024, 2047])
    def test_a_weak_rsa_key_is_left_out(self, bits):
        assert self.read(self.rsa_jwk((1 << bits) - 1)) == {}

    @pytest.mark.parametrize("bits", [8193, 100_000])
    def test_an_rsa_key_that_would_be_a_burden_is_left_out(self, bits):
        assert self.read(self.rsa_jwk((1 << bits) - 1)) == {}

    @pytest.mark.parametrize("n", [(1 << 2048) - 1, (1 << 2048) - 2, 1 << 2047, (1 << 8192) - 1, 3**1292])
    @pytest.mark.parametrize("e", [0, 1, 2, 3, 4, 65537, (1 << 64) + 1, (1 << 2047) + 1])
    def test_numbers_that_are_no_rsa_key_do_no_harm(self, n, e):
        good = keys.key("RS256")
        for key in self.read(self.rsa_jwk(n, e)).values():
            for signature in (b"", b"\0", good.sign(b"data"), b"\0" * 256, b"\xff" * 256, b"\0" * 255 + b"\1"):
                assert not key.verify(b"data", signature)

    @pytest.mark.parametrize("x", [0, 1, 2, (1 << 255) - 19, (1 << 255) - 1, (1 << 256) - 1])
    def test_numbers_that_are_no_ed25519_key_do_no_harm(self, x):
        jwk = {"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64url_encode(x.to_bytes(32, "little"))}
        for key in self.read(jwk).values():
            for signature in (b"", b"\0" * 64, b"\xff" * 64):
                key.verify(b"data", signature)


class TestOneOfAProcess:
    @pytest.fixture(autouse=True)
    def _trusted(self, jwtauth):
        jwtauth(TRUSTED_ISSUERS={ISS: {"JWKS_URL": URL, "AUDIENCE": "notes"}})

    def test_the_codec_and_the_issuer_share_a_ring(self):
        assert isinstance(ring_of_this_process(), FetchedRing)
        assert get_codec().issuers[ISS].ring is ring_of_this_process()

    def test_only_changed_settings_of_ours_begin_anew(self, settings):
        before = ring_of_this_process()
        settings.DEBUG = not settings.DEBUG
        settings.SECRET_KEY = "another"
        assert get_codec().issuers[ISS].ring is before
        settings.JWTAUTH = {**settings.JWTAUTH}
        assert get_codec().issuers[ISS].ring is not before

    def test_a_child_forked_during_a_fetch_fetches_for_itself(self, issuer):
        issuer.free.clear()
        asking = threading.Thread(target=lambda: ring_of_this_process().find("old"))
        asking.start()
        while not issuer.fetches:
            time.sleep(0.001)
        with warnings.catch_warnings():
            # Python warns of just this.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            issuer.free = threading.Event()
            issuer.free.set()
            try:
                os._exit(0 if is_same(ring_of_this_process().find("old"), OLD) else 1)
            finally:
                os._exit(2)
        issuer.free.set()
        asking.join()
        assert os.waitpid(child, 0)[1] == 0


def test_keys_come_from_a_real_server_over_http():
    with publisher() as server:
        server.publish(OLD, NEW, headers="Content-Type: application/json\r\n")
        ring = FetchedRing(ISS, server.url, ASYMMETRIC)
        assert is_same(ring.find("new"), NEW)
        assert is_same(ring.find("old"), OLD)
        assert len(server.requests) == 1


def test_rsa_keys_of_a_usual_size_are_read():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers()
    assert list(TestDocuments().read(TestDocuments().rsa_jwk(key.n))) == ["rsa"]
