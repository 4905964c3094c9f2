"""Addresses of servers: no password leaves them, and the address itself does."""

import pytest

from kbchat.addresses import has_credentials, is_loopback, without_credentials


@pytest.mark.parametrize(
    "user", ["kb:pass", "kb:pa/ss", "kb:pa@ss", "kb:pa:ss", "kb:12/34", "kb:pa?s#s", "key", "a@b:c"]
)
@pytest.mark.parametrize("scheme", ["postgresql://", "https://", ""])
@pytest.mark.parametrize("rest", ["db.internal", "db.internal:5432/kbchat", "[::1]:80/v1"])
def test_user_and_password_are_left_out(scheme: str, user: str, rest: str) -> None:
    """Whatever stands in the password."""
    assert without_credentials(f"{scheme}{user}@{rest}") == scheme + rest
    assert has_credentials(f"{scheme}{user}@{rest}")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "https://example.com/@name/page",
        "http://[::1]:8000/v1",
        "host:80",
        "./milvus.db",
        "",
    ],
)
def test_an_address_without_any_stays_as_it_is(url: str) -> None:
    """Also where an `@` stands in its path."""
    assert without_credentials(url) == url
    assert not has_credentials(url)


@pytest.mark.parametrize("query", ["?key=hush", "#hush", "?mail=a@b", "?a=1#@"])
def test_a_query_is_left_out(query: str) -> None:
    """It may hold a key; an `@` in it is no user's."""
    assert without_credentials(f"http://host:80/v1{query}") == "http://host:80/v1"
    assert not has_credentials(f"http://host:80/v1{query}")


def test_loopback() -> None:
    """Every address of the machine's own net, and names that can mean nothing else."""
    assert all(map(is_loopback, ("127.0.0.1", "127.0.0.2", "::1", "localhost", "kb.localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "", "10.0.0.1", "localhost.example.com", "::")))
