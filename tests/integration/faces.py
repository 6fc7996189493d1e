"""The two faces of the library, which have to behave alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.integration.servers import Server

__all__ = ["FACES", "on_both_faces"]

FACES = ("modern", "dropin")
"""What the application under test calls them."""


def on_both_faces(
    scenario: Callable[[Server, str, str], Awaitable[None]],
) -> Callable[[Server, str], Awaitable[None]]:
    """Make a test of ``scenario(server, face, room)`` that waits for both faces at once."""

    async def test(server: Server, room: str) -> None:
        async def run(face: str) -> None:
            try:
                await scenario(server, face, room)
            except BaseException as error:
                error.add_note(f"on the face {face!r}")
                raise

        await asyncio.gather(*(run(face) for face in FACES))

    # Not functools.wraps(): pytest would look at the signature of the scenario.
    test.__name__, test.__qualname__ = scenario.__name__, scenario.__qualname__
    test.__module__, test.__doc__ = scenario.__module__, scenario.__doc__
    return test
