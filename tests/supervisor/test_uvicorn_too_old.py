"""What somebody is told whose uvicorn is too old for the fast path, whichever is installed."""

from __future__ import annotations

import importlib
import sys
from importlib import metadata

import pytest

MODULE = "supervisor.integrations.uvicorn"


def test_importing_the_class_says_which_uvicorn_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And how to do without."""
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setattr(metadata, "version", lambda _: "0.34.3")

    with pytest.raises(
        ImportError, match=r"uvicorn 0\.52\.1 or newer, and this is 0\.34\.3"
    ) as told:
        importlib.import_module(MODULE)

    assert "serve without this class" in str(told.value)
