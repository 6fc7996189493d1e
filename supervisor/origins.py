"""
Which web pages may connect: browsers send cookies with a WebSocket from any page.

A pure check of the ``Origin`` header (RFC 6454, RFC 6455 §10.2). A client that is no browser
sends none and passes: whoever can choose the header needs no victim's browser.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

__all__ = ["origin_allowed"]

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def origin_allowed(origin: str | None, host: str | None, allowed: Iterable[str] | None) -> bool:
    """
    Return whether a page of ``origin`` may connect.

    Args:
        origin: The ``Origin`` header; None when the request has none.
        host: The ``Host`` header.
        allowed: Origins, ``*`` for all, ``scheme://*.domain`` for subdomains; None for the
            origin of ``host`` only, whatever the scheme (a proxy may have ended TLS).
    """
    if origin is None:
        return True
    if allowed is None:
        if host and origin.partition("://")[2] == host:  # nearly always; the rest is for ports
            return True
        own = None if host is None else _authority(f"ws://{host}", scheme_of=origin)
        return own is not None and own == _authority(origin)
    return any(_matches(origin, pattern) for pattern in allowed)


def _authority(url: str, *, scheme_of: str | None = None) -> tuple[str, int | None] | None:
    try:
        parts = urlsplit(url)
        default = urlsplit(scheme_of).scheme if scheme_of else parts.scheme
        if parts.hostname is None:
            return None
        return parts.hostname.lower(), parts.port or _DEFAULT_PORTS.get(default)
    except ValueError:  # a malformed port or address
        return None


def _matches(origin: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    scheme, _, place = pattern.partition("://")
    subdomains = place.startswith("*.")
    allowed = _authority(f"{scheme}://{place.removeprefix('*.')}")
    found = _authority(origin)
    if allowed is None or found is None or origin.partition("://")[0].lower() != scheme.lower():
        return False
    if subdomains:
        return found[0].endswith(f".{allowed[0]}") and found[1] == allowed[1]
    return found == allowed
