"""Which texts are URLs with a scheme, as Go's `url.Parse` has it (contract/lifecycle.md section 12: rootfs)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.bbs.core.urls import has_scheme


@pytest.mark.parametrize(
    "url",
    [
        "preloaded:cflinuxfs4",
        "preloaded+layer:cflinuxfs4?layer=http%3A%2F%2Fhost%2Fa.tgz&layer_path=%2Ftmp&layer_digest=ab",
        "docker:///cloudfoundry/grace",
        "docker:///cloudfoundry/grace#1.0",
        "docker://registry.example.com/some/app#latest",
        "docker://registry.example.com:5000/some/app",
        "docker://registry:/some/app",
        "docker://user:pass%20word@registry/app",
        "docker://a@b@registry/app",
        "docker://[fd00::1]:5000/app",
        "docker://fd00::1:5000/app",
        "docker://höst/app",
        "docker://h%C3%B6st/app",
        "docker://under_score/app",
        "docker:///a b/ü",
        "docker:/app",
        "oci:",
        "x-1.2+y:z",
        "PRELOADED:stack",
    ],
)
def test_what_users_write_is_a_url(url: str) -> None:
    assert has_scheme(url)


@pytest.mark.parametrize(
    "url",
    [
        "preloaded:not%zzlooked at",
        "docker:///app?query=%zz",
        "docker://host?a:b@c d",
        "docker:///app#\x01",
    ],
)
def test_what_is_opaque_and_the_query_are_not_looked_at_nor_is_a_fragment_for_control_characters(
    url: str,
) -> None:
    assert has_scheme(url)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "nothing"),
        ("cflinuxfs4", "no scheme"),
        ("/some/path", "no scheme"),
        ("//host/path", "no scheme"),
        (":stack", "missing protocol scheme"),
        ("1docker:///app", "first path segment in URL cannot contain colon"),
        ("some app:latest", "first path segment in URL cannot contain colon"),
        ("my_registry:5000/app", "first path segment in URL cannot contain colon"),
        ("*", "no scheme"),
        ("?docker:///app", "no scheme"),
        ("docker:///a\x01", "control character"),
        ("docker:///app\n", "control character"),
        ("preloaded:cflinuxfs4\n", "control character"),
        ("docker:///app?\x7f", "control character"),
        ("docker:///a%zz", "escape in a path"),
        ("docker:///a%2", "escape in a path"),
        ("docker:/a%", "escape in a path"),
        ("docker:///a#%zz", "escape in a fragment"),
        ("docker://host:abc/x", "invalid port"),
        ("docker://host:80a/x", "invalid port"),
        ("docker://host:-1/x", "invalid port"),
        ("docker://host:٣/x", "invalid port"),
        ("docker://[::1]:abc/x", "invalid port"),
        ("docker://[::1]5000/x", "invalid port"),
        ("docker://[::1/x", "missing ']' in host"),
        ("docker://some host/x", "character in a host"),
        ("docker:// /x", "character in a host"),
        ("docker://host\\x/y", "character in a host"),
        ("docker://{host}/x", "character in a host"),
        ("docker://ho|st:5000/x", "character in a host"),
        ("docker://host%zz/x", "escape in a host"),
        ("docker://host%2/f", "escape in a host"),
        ("docker://host%41/x", "ASCII escaped in a host"),
        ("docker://host%20/x", "ASCII escaped in a host"),
        ("docker://us er@host/x", "invalid userinfo"),
        ("docker://üser@host/x", "invalid userinfo"),
        ("docker://user%zz@host/x", "escape in the userinfo"),
        ("docker://user%4@41/x", "escape in the userinfo"),
        ("docker://user@host:abc/x", "invalid port"),
    ],
)
def test_what_go_refuses_is_none(url: str, fault: str) -> None:
    assert not has_scheme(url), fault


def test_a_host_ends_at_its_path_query_or_fragment() -> None:
    for rest in ("/b:c d%41", "?b:c d", "#b:c d"):
        assert has_scheme(f"docker://a{rest}")


@given(st.text("a:/@[]%?#4 1z\n", max_size=12))
def test_any_text_has_an_answer_and_a_scheme_is_needed(text: str) -> None:
    assert has_scheme(text) in (True, False)
    assert not has_scheme(f"/{text}")


@pytest.mark.parametrize("piece", [":", "a", "@", ":1", "[", "[]:", "%25", "@:"])
def test_a_long_text_has_an_answer_too(piece: str) -> None:
    """An expression that tries each way to share it out would never come to its end."""
    assert not has_scheme("docker://" + piece * 50_000 + "\\")
