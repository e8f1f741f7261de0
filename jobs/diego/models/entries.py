"""Encoded messages as the entries of a list answer: every list of the BBS has its entries in field 2."""

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
