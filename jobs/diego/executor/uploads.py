"""Sends a file out of a container to a URL (contract/executor.md section 5)."""

import base64
import hashlib
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import urllib3

from diego.executor.archives import first_file
from diego.executor.downloads import HttpTransport

ATTEMPTS = 3
PIECE = 256 << 10


class UploadFailed(Exception):
    """The payload could not be sent. The text names no URL: those may carry secrets."""


class NothingToUpload(Exception):
    """The container gave no file."""


class Uploader:
    """Posts files. Blocks; for threads."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport

    def post_first_file(self, tar: Path, url: str) -> int:
        """Post the first file of `tar`; its size in bytes.

        Raises:
            NothingToUpload: the tar has no file.
            BadArchive: it is no tar.
            UploadFailed: the server did not take it.
        """
        with first_file(tar) as found:
            if found is None:
                raise NothingToUpload
            file, size = found
            headers = _headers(file, size)
            for attempt in range(ATTEMPTS):
                file.seek(0)
                try:
                    self._post(url, file, headers)
                    return size
                except UploadFailed:
                    if attempt + 1 == ATTEMPTS:
                        raise
        raise UploadFailed("no attempt was made")

    def _post(self, url: str, file: IO[bytes], headers: dict[str, str]) -> None:
        try:
            response = self._transport.request("POST", url, headers=headers, body=file)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UploadFailed(f"Upload failed: {type(error).__name__}") from error
        response.close()
        if response.status >= 400:
            raise UploadFailed(f"Upload failed: Status code {response.status}")


def is_url(text: str) -> bool:
    """Whether something could be sent there."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _headers(file: IO[bytes], size: int) -> dict[str, str]:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    while piece := file.read(PIECE):
        md5.update(piece)
        sha256.update(piece)
    return {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(size),
        "Content-MD5": base64.b64encode(md5.digest()).decode(),
        "Content-Digest": f"sha-256=:{base64.b64encode(sha256.digest()).decode()}:",
    }
