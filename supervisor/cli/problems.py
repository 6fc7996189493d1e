"""What the command line cannot do, as one line for the terminal and an exit status."""

from __future__ import annotations

import click

from supervisor.cli.entry import MISSING

__all__ = ["Failed", "NotInstalled"]


class NotInstalled(click.ClickException):
    """Something that the command needs is not installed, or too old; exit status 2."""

    exit_code = MISSING


class Failed(click.ClickException):
    """The command could not do what it was asked for; exit status 1."""

    exit_code = 1
