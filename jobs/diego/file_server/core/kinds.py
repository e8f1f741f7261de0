"""What kind of thing a file is: by its extension, else by its first bytes."""

from pathlib import PurePosixPath

SNIFFED = 512
"""Bytes that are looked at."""

_TEXT = "text/plain; charset=utf-8"
_BY_EXTENSION = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": _TEXT,
    ".wasm": "application/wasm",
    ".xml": "text/xml; charset=utf-8",
    ".zip": "application/zip",
}
_BY_BEGINNING = {
    b"\x1f\x8b\x08": "application/x-gzip",
    b"PK\x03\x04": "application/zip",
    b"%PDF-": "application/pdf",
}
_BINARY = bytes(number for number in range(32) if number not in {9, 10, 12, 13, 27})


def content_type(name: str, beginning: bytes) -> str:
    """The Content-Type of the file `name` that begins so."""
    known = _BY_EXTENSION.get(PurePosixPath(name).suffix.lower())
    if known is not None:
        return known
    for magic, kind in _BY_BEGINNING.items():
        if beginning.startswith(magic):
            return kind
    is_text = not any(byte in _BINARY for byte in beginning[:SNIFFED])
    return _TEXT if is_text else "application/octet-stream"
