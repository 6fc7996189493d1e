"""The drop-in faces, for tests that hold for several of them."""

from __future__ import annotations

import pytest

from supervisor import ConnectionManager, FlatConnectionManager, TargetFirstConnectionManager

__all__ = ["EVERY_FACE", "ROOM_FACES"]

EVERY_FACE = pytest.mark.parametrize(
    "face", [ConnectionManager, TargetFirstConnectionManager, FlatConnectionManager]
)
ROOM_FACES = pytest.mark.parametrize("face", [ConnectionManager, TargetFirstConnectionManager])
