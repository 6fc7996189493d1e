"""
Events: structlog, with lower-case dotted names and fields, once an episode.

An application that configured structlog gets the events through its own processors. In any
other they go to the standard library's logger ``wsupervisor``, as ``event key=value``, so that
a library that nobody configured prints warnings and nothing else.
"""

from __future__ import annotations

import logging
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger

__all__ = ["event_logger"]


def event_logger() -> FilteringBoundLogger:
    """Return the logger for events; call it when the application is configured."""
    if structlog.is_configured():
        return cast(FilteringBoundLogger, structlog.get_logger("wsupervisor"))
    return cast(
        FilteringBoundLogger,
        structlog.wrap_logger(
            logging.getLogger("wsupervisor"),
            processors=[
                structlog.processors.format_exc_info,
                structlog.processors.KeyValueRenderer(key_order=["event"]),
            ],
            wrapper_class=_LevelsFirst,
            cache_logger_on_first_use=True,
        ),
    )


class _LevelsFirst(structlog.stdlib.BoundLogger):
    """A logger for which an event that nobody wants costs a look at the level, and no exception."""

    def _proxy_to_logger(self, method_name: str, *arguments: Any, **fields: Any) -> Any:
        if self._logger.isEnabledFor(_LEVELS[method_name]):
            return super()._proxy_to_logger(method_name, *arguments, **fields)
        return None


_LEVELS = {
    "exception": logging.ERROR,
    **{name.lower(): level for name, level in logging.getLevelNamesMapping().items()},
}
