"""Refuses an environment in which another ``supervisor`` is installed: two cannot share a name."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

__all__ = ["refuse_process_manager"]


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


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
