"""Requests with texts that are not UTF-8.

The original stores any bytes; protobuf's texts must be UTF-8, and so must the texts that other clients read. The
output of an app or task may hold anything, and its crash must not be lost for that: such bytes are replaced by
U+FFFD wherever a message has a text, and nothing else of it is touched.
"""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from diego.models.entries import varint

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
DEEPEST = 100
"""As deep as protobuf itself reads."""


class UndecodableError(Exception):
    """The bytes are no message at all."""


def repair(descriptor: Any, encoded: bytes, depth: int = 0) -> bytes:
    """The message with every text made UTF-8. `descriptor` is that of its class (the stubs know two kinds of them).

    Raises:
        UndecodableError: the bytes are no message.
    """
    if depth > DEEPEST:
        raise UndecodableError
    out = bytearray()
    position = 0
    while position < len(encoded):
        tag, after = _varint(encoded, position)
        kind = tag & 7
        if kind != BYTES:
            end = _end_of_number(encoded, after, kind)
            out += encoded[position:end]
            position = end
            continue
        length, start = _varint(encoded, after)
        end = start + length
        if end > len(encoded):
            raise UndecodableError
        content = _repaired(descriptor.fields_by_number.get(tag >> 3), encoded[start:end], depth)
        out += encoded[position:after] + varint(len(content)) + content
        position = end
    return bytes(out)


def _repaired(field: Any, content: bytes, depth: int) -> bytes:
    if field is None:
        return content
    if field.type == FieldDescriptor.TYPE_STRING:
        return content.decode("utf-8", "replace").encode()
    if field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type is not None:
        return repair(field.message_type, content, depth + 1)
    return content


def _end_of_number(encoded: bytes, position: int, kind: int) -> int:
    if kind == VARINT:
        return _varint(encoded, position)[1]
    end = position + {FIXED64: 8, FIXED32: 4}.get(kind, len(encoded) + 1)
    if end > len(encoded):
        raise UndecodableError
    return end


def _varint(encoded: bytes, position: int) -> tuple[int, int]:
    """The number that begins at `position`, and where what follows begins."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(encoded):
            break
        byte = encoded[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, position
    raise UndecodableError
