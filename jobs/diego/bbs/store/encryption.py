"""Encryption at rest (contract/lifecycle.md section 10).

A column's text is `02` and the base64 of: one byte that counts the label, the label, a nonce of 12 bytes, and the
AES-256-GCM ciphertext with its tag. The key is the SHA-256 of the label's passphrase. New text is made with the
active label; text of any known label can be read.
"""

import binascii
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "02"
NONCE_BYTES = 12
NONCES_AT_ONCE = 256
SHORT_CHARACTERS = 64
SHORT_TEXTS = 4096
LONGEST_LABEL = 127


class Undecodable(Exception):
    """A column's text cannot be read; the message says why, without the content."""


class InvalidKeys(ValueError):
    """The labels and passphrases of the configuration do not fit together."""


class Encryption:
    """The keys, by label."""

    def __init__(self, active_label: str, passphrases: Mapping[str, str]) -> None:
        for label in passphrases:
            if not 1 <= len(label.encode()) <= LONGEST_LABEL:
                raise InvalidKeys(f"a label must have 1 to {LONGEST_LABEL} bytes: {label!r}")
        if active_label not in passphrases:
            raise InvalidKeys(f"no passphrase for the active label {active_label!r}")
        self.active_label = active_label
        self._keys = {
            label.encode(): AESGCM(hashlib.sha256(passphrase.encode()).digest())
            for label, passphrase in passphrases.items()
        }
        encoded = active_label.encode()
        self._head = bytes([len(encoded)]) + encoded
        self._active = self._keys[encoded]
        self._nonces: Iterator[bytes] = iter(())
        self._lock = threading.Lock()
        self._empty: dict[bytes, str] = {}
        self._short: dict[str, bytes] = {}

    def knows(self, label: str) -> bool:
        return label.encode() in self._keys

    def encrypt(self, content: bytes) -> str:
        """A column's text for `content`, new each time."""
        nonce = self._nonce()
        packed = self._head + nonce + self._active.encrypt(nonce, content, None)
        return PREFIX + binascii.b2a_base64(packed, newline=False).decode("ascii")

    def encrypt_empty(self, content: bytes) -> str:
        """A column's text for what stands where there is nothing, such as `null`: always the same.

        Most columns of most records hold one of these. That two are equal tells nobody more than their length does.
        """
        text = self._empty.get(content)
        if text is None:
            text = self._empty[content] = self.encrypt(content)
        return text

    def _nonce(self) -> bytes:
        """One that was never used: each is given out once. From any thread."""
        with self._lock:
            nonce = next(self._nonces, None)
            if nonce is None:
                some = os.urandom(NONCE_BYTES * NONCES_AT_ONCE)
                starts = range(0, len(some), NONCE_BYTES)
                self._nonces = iter([some[start : start + NONCE_BYTES] for start in starts])
                nonce = next(self._nonces)
            return nonce

    def decrypt(self, text: str) -> bytes:
        """The content of a column's text.

        Raises:
            Undecodable: another form, an unknown label, or a wrong key.
        """
        if len(text) <= SHORT_CHARACTERS:  # what `encrypt_empty` makes is the same in many rows
            content = self._short.get(text)
            if content is None:
                content = self._decrypted(text)
                if len(self._short) < SHORT_TEXTS:
                    self._short[text] = content
            return content
        return self._decrypted(text)

    def _decrypted(self, text: str) -> bytes:
        packed = _packed(text)
        if packed.startswith(self._head):  # nearly always
            key, start = self._active, len(self._head)
        else:
            label = packed[1 : 1 + packed[0]]
            if label not in self._keys:
                raise Undecodable(f"unknown key label {label!r}")
            key, start = self._keys[label], 1 + len(label)
        try:
            return key.decrypt(packed[start : start + NONCE_BYTES], packed[start + NONCE_BYTES :], None)
        except (InvalidTag, ValueError) as error:
            raise Undecodable("does not decrypt") from error

    def is_current(self, text: str) -> bool:
        """Whether the text was made with the active label; False for what cannot be read."""
        try:
            return _packed(text).startswith(self._head)
        except Undecodable:
            return False


def _packed(text: str) -> bytes:
    """The bytes that the text stands for, long enough to hold a label and a nonce."""
    if not text.startswith(PREFIX):
        raise Undecodable(f"unknown encoding {text[:2]!r}")
    try:
        packed = binascii.a2b_base64(text[2:], strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise Undecodable("not base64") from error
    if not packed or len(packed) < 1 + packed[0] + NONCE_BYTES:
        raise Undecodable("too short")
    return packed
