import string
import uuid

import pytest

from django_jwtauth.jose.encoding import b64url_decode, b64url_encode, decode_id, encode_id, is_id, new_id

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
ID = "ABEiM0RVRneImaq7zN3u_w"

VECTORS = [
    # RFC 4648 section 10, without padding
    (b"", ""),
    (b"f", "Zg"),
    (b"fo", "Zm8"),
    (b"foo", "Zm9v"),
    (b"foob", "Zm9vYg"),
    (b"fooba", "Zm9vYmE"),
    (b"foobar", "Zm9vYmFy"),
    # RFC 7515 appendix C
    (bytes([3, 236, 255, 224, 193]), "A-z_4ME"),
]


def is_refused(decode, text):
    try:
        decode(text)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(("data", "text"), VECTORS)
def test_the_vectors_of_the_standards(data, text):
    assert b64url_encode(data) == text
    assert b64url_decode(text) == data


@pytest.mark.parametrize("length", range(48))
def test_what_was_encoded_is_decoded(length):
    data = bytes(range(255, 255 - length, -1))
    text = b64url_encode(data)
    assert set(text) <= set(ALPHABET)
    assert not is_refused(b64url_decode, text)
    assert b64url_decode(text) == data


@pytest.mark.parametrize("length", [1, 2, 3])
def test_whatever_the_last_byte_is_it_is_decoded(length):
    for last in range(256):
        data = bytes(length - 1) + bytes([last])
        assert b64url_decode(b64url_encode(data)) == data


@pytest.mark.parametrize("character", ["!", "\n", " ", "~", "\0", "=", "+", "/"])
def test_four_characters_outside_the_alphabet_are_no_less_refused(character):
    for text in (character * 4, "AAAA" + character * 4, character * 4 + "AAAA", "AA" + character * 4 + "AA"):
        assert is_refused(b64url_decode, text)


@pytest.mark.parametrize("position", range(4))
def test_every_character_outside_the_alphabet_is_refused(position):
    for code in {*range(256), 0x0660, 0x2028, 0xFF21, 0xD800, 0x1F600} - set(map(ord, ALPHABET)):
        text = "AAAA"[:position] + chr(code) + "AAAA"[position + 1 :]
        assert is_refused(b64url_decode, text)


@pytest.mark.parametrize("text", ["Zg==", "Zm8=", "Zm9v=", "Zm9v====", "=", "==", "Z===", "Zg=", "=Zg=", "Zg=A"])
def test_padding_is_refused(text):
    assert is_refused(b64url_decode, text)


@pytest.mark.parametrize("text", ["A", "AAAAA", "A" * 4001])
def test_an_impossible_length_is_refused(text):
    assert is_refused(b64url_decode, text)


@pytest.mark.parametrize(("length", "unused_bits"), [(1, 4), (2, 2), (16, 4), (20, 2)])
def test_unused_bits_that_are_not_zero_are_refused(length, unused_bits):
    text = b64url_encode(bytes(length))
    for bits in range(1, 2**unused_bits):
        assert is_refused(b64url_decode, text[:-1] + ALPHABET[bits])


@pytest.mark.parametrize("text", [" Zg", "Zg ", "Zg\n", "Z g", "Zm9v\n", "Zm9v\r\nZm9v", "Zm9v\0"])
def test_whitespace_is_refused(text):
    assert is_refused(b64url_decode, text)


def test_an_id_is_22_characters():
    value = uuid.UUID("00112233-4455-4677-8899-aabbccddeeff")
    assert encode_id(value) == "ABEiM0RVRneImaq7zN3u_w"
    assert decode_id("ABEiM0RVRneImaq7zN3u_w") == value


@pytest.mark.parametrize(
    "text",
    ["", "AAAA", ID[:-1], ID[:-2], ID + "A", ID + "AA", ID[:-1] + "B", ID + "=", ID[:-1] + "=", str(uuid.UUID(int=0))],
)
def test_what_is_no_id_is_refused(text):
    assert is_refused(decode_id, text)
    assert not is_id(text)


@pytest.mark.parametrize("byte", range(256))
@pytest.mark.parametrize("at", [6, 8])
def test_of_uuids_only_version_4_is_an_id(at, byte):
    data = bytearray(decode_id(ID).bytes)
    data[at] = byte
    text = b64url_encode(bytes(data))
    expected = byte >> 4 == 4 if at == 6 else byte >> 6 == 2
    assert is_id(text) is expected
    assert is_refused(decode_id, text) is not expected


def test_every_bit_of_a_new_id_but_version_and_variant_is_random():
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    assert all(is_id(encode_id(value)) and decode_id(encode_id(value)) == value for value in ids)
    ones = [sum(value.int >> bit & 1 for value in ids) for bit in range(128)]
    assert sum(700 < count < 1300 for count in ones) == 122
