"""
Where the command ``wsupervisor`` begins.

It needs the extra ``cli``, and who installed the library alone has the command too: this module
imports nothing of the extra before it has made sure that it is there.
"""

from __future__ import annotations

import sys
from importlib import util

__all__ = ["MISSING", "main"]

MISSING = 2
"""Exit status where something has to be installed, as for a wrong option."""


def main() -> int:
    """Run the command line; return its exit status."""
    missing = [name for name in ("click", "rich") if util.find_spec(name) is None]
    if missing:
        print(  # noqa: T201 - click, which would do this, may be what is missing
            f"wsupervisor: the command line needs {' and '.join(missing)}: "
            "pip install 'wsupervisor[cli,uvicorn]', or '.[cli,uvicorn]' in a checkout",
            file=sys.stderr,
        )
        return MISSING
    from supervisor.cli.commands import wsupervisor  # noqa: PLC0415 - imports click

    return int(wsupervisor.main(prog_name="wsupervisor", standalone_mode=True) or 0)
