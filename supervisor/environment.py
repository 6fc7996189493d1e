"""Refuses an environment in which another package has the name of one of ours."""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["refuse_other_actors", "refuse_process_manager"]


def refuse_process_manager() -> None:
    """
    Raise where PyPI's ``supervisor``, the process manager, shares the environment.

    Both install an import package ``supervisor``, and whichever came last has overwritten
    files of the other.

    Raises:
        ImportError: If the process manager is installed.
    """
    overwritten = (Path(__file__).parent / "supervisord.py").exists()
    if overwritten or _installed("supervisor"):
        raise ImportError(
            "wsupervisor and PyPI's process manager 'supervisor' are installed in one environment, "
            "and both bring an import package named 'supervisor'. Give each an environment of its "
            "own; here: pip uninstall supervisor && pip install --force-reinstall wsupervisor"
        )


def refuse_other_actors(folder: str | None = None) -> None:
    """
    Raise where ``import actors`` finds another package than the one that belongs here.

    Args:
        folder: Where an application is going to be imported from, before anything else; None
            for where it is found now.

    Raises:
        ImportError: If it does; the message says where it is.
    """
    if folder is None:
        found = importlib.util.find_spec("actors")
    else:
        found = PathFinder.find_spec("actors", [str(Path(folder).resolve()), *sys.path])
        if found is None:  # ours is not found by its folder: it was installed for editing
            return
    places = list(found.submodule_search_locations or ()) if found is not None else []
    if Path(__file__).parent.parent not in (Path(place).parent for place in places):
        where = places[0] if places else (found.origin if found is not None else "nowhere")
        raise ImportError(
            "wsupervisor brings two packages, 'supervisor' and 'actors', and 'import actors' finds "
            f"another one: {where}. Rename that package, or move it into one of your own."
        )


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
