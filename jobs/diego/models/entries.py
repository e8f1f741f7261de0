"""Encoded parts of messages, put together without the message: much is only handed on.

Every list of the BBS has its entries in field 2.
"""

LIST_ENTRY = b"\x12"
ONE_BYTE = 0x80
TWO_BYTES = 0x4000


def list_entry(encoded: bytes) -> bytes:
    """An encoded message as an entry (tag, length, bytes); a list answer is a join of such entries."""
    return LIST_ENTRY + varint(len(encoded)) + encoded


def entry_content(entry: bytes) -> bytes:
    """The encoded message inside an entry made by `list_entry`."""
    start = 1
    while entry[start] & 0x80:
        start += 1
    return entry[start + 1 :]


def map_entry(key: str, value: bytes) -> bytes:
    """The content of one entry of a map from texts to texts, bytes or (encoded) messages, as protobuf writes it."""
    name = key.encode()
    return b"\x0a%b%b\x12%b%b" % (varint(len(name)), name, varint(len(value)), value)


def map_order(key: str) -> bytes:
    """What protobuf sorts a map's entries by, where it sorts them: of two keys that begin alike the longer is first."""
    return key.encode() + b"\xff"


def varint(number: int) -> bytes:
    """A non-negative number in protobuf's base-128 form."""
    if number < ONE_BYTE:
        return bytes((number,))
    if number < TWO_BYTES:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
