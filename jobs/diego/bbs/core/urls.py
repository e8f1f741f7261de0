"""What the original takes for a URL: what Go's `url.Parse` does, as far as root filesystems can tell the difference.

It is looked at from the outside in: the fragment goes, then the query, then the scheme. What is left is opaque, as the
stack in `preloaded:cflinuxfs4`, unless a slash begins it; then an authority may come (`docker://user@host:port/path`), and
the path. Each part has its own characters, and its own way with a percent sign.
"""

import re

SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
USER = re.compile(r"[a-zA-Z0-9._~!$&'()*+,;=:%@-]*")

NAME = r"""(?:[a-zA-Z0-9._~!$&'()*+,;=<>"\[\]-]|[^\x00-\x7f]|%(?:[89a-fA-F][0-9a-fA-F]|25))"""
"""One character of a host that is no colon. Only what is not ASCII may be escaped there, and the percent sign."""

HOST = re.compile(rf"\[(?:{NAME}|:)*\](?::[0-9]*)?|(?!\[)(?:(?:{NAME}|:)*:[0-9]*|{NAME}*)")
"""What follows the last colon is a port, which may be empty. Colons may come before it, as in an IPv6 address."""


def has_scheme(value: str) -> bool:
    """Whether this is a URL that begins with a scheme."""
    value, _, fragment = value.partition("#")
    if CONTROL.search(value) or BAD_ESCAPE.search(fragment):
        return False
    value, _, _ = value.partition("?")
    scheme = SCHEME.match(value)
    if scheme is None:
        return False
    rest = value[scheme.end() :]
    if rest.startswith("//"):
        authority, _, rest = rest[2:].partition("/")
        return _is_authority(authority) and not BAD_ESCAPE.search(rest)
    return not (rest.startswith("/") and BAD_ESCAPE.search(rest))


def _is_authority(value: str) -> bool:
    user, _, host = value.rpartition("@")
    return bool(USER.fullmatch(user) and not BAD_ESCAPE.search(user) and HOST.fullmatch(host))
