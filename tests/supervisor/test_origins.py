"""Which pages may connect: the header against the host, and against what is allowed."""

from __future__ import annotations

import pytest

from supervisor.origins import origin_allowed


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.org", "example.org"),
        ("https://example.org", "example.org"),  # a proxy may have ended TLS
        ("https://example.org", "EXAMPLE.org"),
        ("https://EXAMPLE.org", "example.org"),
        ("http://example.org:8000", "example.org:8000"),
        ("http://example.org", "example.org:80"),
        ("https://example.org", "example.org:443"),
        ("https://example.org:443", "example.org"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[::1]", "[::1]"),
    ],
)
def test_a_page_of_the_same_origin_may_connect(origin: str, host: str) -> None:
    """Host and port agree, whatever the scheme; default ports may be left out."""
    assert origin_allowed(origin, host, None)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "example.org"),
        ("http://example.org.evil.example", "example.org"),
        ("http://evil-example.org", "example.org"),
        ("http://sub.example.org", "example.org"),
        ("http://example.org", "sub.example.org"),
        ("http://example.org:8001", "example.org:8000"),
        ("http://example.org:8000", "example.org"),
        ("http://example.org", "example.org:8000"),
        ("http://example.org", "example.org:443"),
        ("https://example.org", "example.org:80"),
        ("http://localhost:8000", "127.0.0.1:8000"),
        ("null", "example.org"),
        ("", "example.org"),
        ("example.org", "example.org"),
        ("file://", "example.org"),
        ("http://", "example.org"),
        ("http://example.org:port", "example.org"),
        ("http://example.org:99999", "example.org"),
        ("http://[::1", "[::1]"),
        ("http://example.org", None),
        ("http://example.org", ""),
        ("null", ""),
        ("null", "[::1"),
        ("", ""),
    ],
)
def test_any_other_page_may_not(origin: str, host: str | None) -> None:
    """Another host or port, an opaque origin, malformed ones, and a request without a host."""
    assert not origin_allowed(origin, host, None)


@pytest.mark.parametrize("allowed", [None, [], ["https://a.example"]])
def test_a_client_that_is_no_browser_passes(allowed: list[str] | None) -> None:
    """It sends no header, and who can choose the header needs no victim's browser."""
    assert origin_allowed(None, "example.org", allowed)


@pytest.mark.parametrize(
    ("origin", "pattern"),
    [
        ("https://a.example", "https://a.example"),
        ("https://A.example", "https://a.EXAMPLE"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://x.a.example", "https://*.a.example"),
        ("https://y.x.a.example", "https://*.a.example"),
        ("https://x.a.example:8443", "https://*.a.example:8443"),
        ("https://anything.example", "*"),
        ("null", "*"),
        ("https://a.example", "https://a.example:443"),
        ("http://a.example", "http://a.example:80"),
    ],
)
def test_an_allowed_origin_may_connect(origin: str, pattern: str) -> None:
    """The origin itself, a subdomain, or all; the default port may be said."""
    assert origin_allowed(origin, "example.org", ["https://other.example", pattern])


@pytest.mark.parametrize(
    ("origin", "pattern"),
    [
        ("http://a.example", "https://a.example"),
        ("https://a.example:8443", "https://a.example"),
        ("https://a.example", "https://a.example:8443"),
        ("https://a.example", "https://*.a.example"),
        ("https://evil-a.example", "https://*.a.example"),
        ("https://x.a.example.evil.example", "https://*.a.example"),
        ("https://x.a.example:8443", "https://*.a.example"),
        ("null", "https://a.example"),
        ("", "https://a.example"),
        ("https://", "https://*.a.example"),
        ("https://example.org", "https://a.example"),
    ],
)
def test_an_origin_that_is_not_listed_may_not(origin: str, pattern: str) -> None:
    """Also not the server's own, where a list is given."""
    assert not origin_allowed(origin, "example.org", [pattern])


def test_an_empty_list_allows_no_page() -> None:
    """It is not the same as None."""
    assert not origin_allowed("http://example.org", "example.org", [])
