"""A second event loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["OtherLoop"]


class OtherLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="other loop")
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await ``work`` there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    def stop(self, *, close: bool = True) -> None:
        """Stop the loop; with ``close`` cancel its tasks, as asyncio.run() does, and close it."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        if close and not self.loop.is_closed():
            with ThreadPoolExecutor(1) as thread:  # the one for whom this is awaited has a loop
                thread.submit(self.loop.run_until_complete, _cancel_all_tasks()).result()
            self.loop.close()


async def _cancel_all_tasks() -> None:
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
