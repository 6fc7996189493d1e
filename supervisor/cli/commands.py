"""The command ``wsupervisor`` and its subcommands, which are imported when they are used."""

from __future__ import annotations

from importlib import import_module

import click

__all__ = ["wsupervisor"]

SUBCOMMANDS = {
    "bench": ("supervisor.cli.bench.command", "Measure a WebSocket server, or this one."),
    "serve": ("supervisor.cli.serve", "Serve an ASGI application, on the fast path."),
}


class _Subcommands(click.Group):
    """Each is imported by itself: ``bench`` needs no uvicorn, ``serve`` no charts."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = SUBCOMMANDS.get(cmd_name)
        if found is None:
            return None
        command: click.Command = import_module(found[0]).command()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUBCOMMANDS[name][1]) for name in sorted(SUBCOMMANDS)])


@click.group(cls=_Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wsupervisor", message="%(prog)s %(version)s")
def wsupervisor() -> None:
    """Serve WebSocket applications with wsupervisor, and measure them."""
