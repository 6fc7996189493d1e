"""The text of a close frame: what of it can travel."""

from __future__ import annotations

__all__ = ["fit_reason"]


def fit_reason(reason: str) -> str:
    """Cut ``reason`` to the 123 bytes that a close frame has for it (RFC 6455 §5.5.1)."""
    return reason.encode(errors="replace")[:123].decode(errors="ignore")
