"""The connection string of the jobs' configs, in the form of the original's MySQL driver.

`user:password@tcp(host:port)/schema`. The password may hold any character: the schema begins after the
last `/`, the address after the last `@` before it. contract/config-and-metrics.md section 3.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

DEFAULT_PORT = 3306

_ADDRESS = re.compile(r"tcp\((?P<address>.*)\)")
_HOST_PORT = re.compile(r"(?:\[(?P<bracketed>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>\d{1,5}))?")


class InvalidDataSource(ValueError):
    """The text is not a connection string. Its message never holds the text: that has a password in it."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where the database is and who asks."""

    user: str
    password: str
    host: str
    port: int
    schema: str

    def __repr__(self) -> str:
        return f"DataSource({self.user}@{self.host}:{self.port}/{self.schema})"


def parse_data_source(text: str) -> DataSource:
    """Read a connection string.

    Raises:
        InvalidDataSource: it has another form, names no schema, or carries parameters.

    """
    before, slash, schema = text.rpartition("/")
    if not slash:
        raise InvalidDataSource("no /schema at the end")
    if "?" in schema:
        raise InvalidDataSource("parameters after the schema are not supported")
    if not schema:
        raise InvalidDataSource("the schema is empty")
    credentials, _, location = before.rpartition("@")
    user, _, password = credentials.partition(":")
    found = _ADDRESS.fullmatch(location)
    if not found:
        raise InvalidDataSource("the address is not of the form tcp(host:port)")
    host, port = _host_and_port(found["address"])
    return DataSource(user, password, host, port, unquote(schema))


def _host_and_port(address: str) -> tuple[str, int]:
    found = _HOST_PORT.fullmatch(address)
    if not found:
        raise InvalidDataSource(f"not a host:port: {address!r}")
    port = int(found["port"] or DEFAULT_PORT)
    if not 0 < port < 65536:
        raise InvalidDataSource(f"not a port: {port}")
    return found["bracketed"] or found["host"], port
