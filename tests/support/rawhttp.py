"""HTTP by hand, for what no client library would send."""

import re
import socket
import ssl
from dataclasses import dataclass


@dataclass(frozen=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


class RawClient:
    """One connection. Reads answers one after the other."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, timeout: float = 60.0) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.sock = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
        self._buffer = bytearray()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request(self, method: str, path: str, body: bytes = b"", *fields: str) -> RawAnswer:
        self.send_request(method, path, body, *fields)
        return self.answer(head_only=method == "HEAD")

    def send_request(self, method: str, path: str, body: bytes = b"", *fields: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *fields]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def head(self) -> RawAnswer:
        """The next head; what follows stays to be read."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head = self._take(self._buffer.index(b"\r\n\r\n"), skip=4)
        first, *fields = head.decode("latin-1").split("\r\n")
        found = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", first)
        assert found, first
        headers = {}
        for field in fields:
            name, _, value = field.partition(": ")
            headers[name.lower()] = value
        return RawAnswer(int(found[1]), headers, b"")

    def answer(self, *, head_only: bool = False) -> RawAnswer:
        found = self.head()
        if head_only or found.status in {204, 304} or found.status < 200:
            return found
        if found.headers.get("transfer-encoding") == "chunked":
            pieces = []
            while chunk := self.chunk():
                pieces.append(chunk)
            return RawAnswer(found.status, found.headers, b"".join(pieces))
        if "content-length" in found.headers:
            return RawAnswer(found.status, found.headers, self.read(int(found.headers["content-length"])))
        return RawAnswer(found.status, found.headers, self.rest())

    def chunk(self) -> bytes:
        """The next chunk; b"" for the last."""
        while b"\r\n" not in self._buffer:
            self._more()
        size = self._take(self._buffer.index(b"\r\n"), skip=2)
        chunk = self.read(int(size, 16))
        assert self.read(2) == b"\r\n"
        return chunk

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        return self._take(size)

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            while data := self.sock.recv(65536):
                self._buffer += data
        except ConnectionResetError:
            pass
        return self._take(len(self._buffer))

    def is_closed(self) -> bool:
        """Whether the server closed, having sent nothing more."""
        return self.rest() == b""

    def _take(self, size: int, *, skip: int = 0) -> bytes:
        found = bytes(self._buffer[:size])
        del self._buffer[: size + skip]
        return found

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"the server closed after {bytes(self._buffer)!r}")
        self._buffer += data
