"""
Keeps the garbage collector away from what a server has loaded before its first connection.

Whoever connects makes new objects, and with them come collections. Each of the larger ones looks
at every module, function and model that was ever imported: with a FastAPI application that was a
third of what a thousand connections cost (docs/decisions/0008-freeze-what-is-loaded.md).
"""

from __future__ import annotations

import gc

__all__ = ["freeze_what_is_loaded"]


def freeze_what_is_loaded() -> None:
    """
    Have the collector pass over all that there is now. Once a process; later calls do nothing.

    What is no longer needed of it is freed all the same, except for cycles.
    """
    if not gc.get_freeze_count():
        gc.collect()  # cycles that are garbage now would stay for ever
        gc.freeze()
