"""Encryption at rest, in the original's form (contract/lifecycle.md section 10)."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from diego.bbs.store.encryption import Encryption, InvalidKeys, Undecodable

OLD = Encryption("old", {"old": "secret"})
BOTH = Encryption("new", {"old": "secret", "new": "another"})


def test_a_text_is_packed_as_the_original_packs_it() -> None:
    text = OLD.encrypt(b"content")

    packed = base64.b64decode(text[2:])
    label, nonce, sealed = packed[1:4], packed[4:16], packed[16:]
    assert text[:2] == "02"
    assert (packed[0], label) == (3, b"old")
    assert AESGCM(hashlib.sha256(b"secret").digest()).decrypt(nonce, sealed, None) == b"content"


def test_two_texts_of_one_content_differ() -> None:
    assert OLD.encrypt(b"content") != OLD.encrypt(b"content")


def test_new_text_is_made_with_the_active_key() -> None:
    packed = base64.b64decode(BOTH.encrypt(b"content")[2:])

    assert packed[: 1 + packed[0]] == b"\x03new"


def test_text_of_an_older_key_is_read_and_told_from_the_current() -> None:
    text = OLD.encrypt(b"content")

    assert BOTH.decrypt(text) == b"content"
    assert not BOTH.is_current(text)
    assert BOTH.is_current(BOTH.encrypt(b"content"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "01e30=",
        "02",
        "02!!!!",
        "02" + base64.b64encode(b"\x03ol").decode(),
        OLD.encrypt(b"x")[:-8] + "AAAAAA==",
    ],
    ids=["empty", "short", "other-encoding", "no-text", "no-base64", "label-cut", "tag-wrong"],
)
def test_what_is_not_such_a_text_is_undecodable(text: str) -> None:
    with pytest.raises(Undecodable):
        OLD.decrypt(text)


@pytest.mark.parametrize("prefix", ["00", "01", "03", "  "])
def test_any_other_prefix_is_an_error(prefix: str) -> None:
    with pytest.raises(Undecodable, match="unknown encoding"):
        OLD.decrypt(prefix + OLD.encrypt(b"content")[2:])


def test_an_unknown_label_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="unknown key label"):
        OLD.decrypt(BOTH.encrypt(b"content"))


@pytest.mark.parametrize(
    ("active", "passphrases"),
    [("a", {}), ("a", {"b": "x"}), ("", {"": "x"}), ("a" * 128, {"a" * 128: "x"})],
)
def test_keys_that_do_not_fit_together_are_refused(active: str, passphrases: dict[str, str]) -> None:
    with pytest.raises(InvalidKeys):
        Encryption(active, passphrases)


def test_a_label_of_127_bytes_is_fine() -> None:
    label = "ä" * 63 + "x"
    long, other = Encryption(label, {label: "secret"}), Encryption("new", {"new": "another", label: "secret"})

    text = long.encrypt(b"content")

    assert base64.b64decode(text[2:])[0] == 127
    assert long.decrypt(text) == other.decrypt(text) == b"content"


def test_what_stands_where_there_is_nothing_is_made_once_and_reads_as_it_was() -> None:
    keys = Encryption("key", {"key": "secret"})
    first = keys.encrypt_empty(b"null")

    assert keys.encrypt_empty(b"null") == first
    assert keys.decrypt(first) == b"null"
    assert keys.encrypt_empty(b"{}") != first
    assert keys.encrypt(b"null") != first


def test_no_nonce_is_used_twice() -> None:
    keys = Encryption("key", {"key": "secret"})

    texts = {keys.encrypt(b"content") for _ in range(1000)}

    nonces = {base64.b64decode(text[2:])[4:16] for text in texts}
    assert len(nonces) == 1000
