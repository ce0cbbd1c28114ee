"""The program and its commands; a command's module is imported when the command is called for."""

from __future__ import annotations

import importlib

import click

from gemmalock import __version__
from gemmalock.cli.flags import global_flags
from gemmalock.cli.groups import NamedGroup

#: Command → what it does, in a line. The module is `gemmalock.cli.commands.<name>_command`, with `_` for `-`.
COMMANDS = {
    "init": "Write a starting manifest.",
    "add": "Declare a model, then lock.",
    "remove": "Take a model out of the manifest, then lock.",
    "lock": "Resolve the manifest into gemmalock.lock.",
    "outdated": "Show what upstream has that the lock has not.",
    "diff": "Show in what two locks differ.",
    "sync": "Make every root what the lock says, then prune.",
    "status": "Show what sync would do, and why.",
    "verify": "Hash what is in place against the lock.",
    "list": "Show models, files, sizes, licences and tags.",
    "tree": "Show the lock as a tree.",
    "path": "Print the local path of a model or a file.",
    "prune": "Take out of the roots what the lock does not list.",
    "export": "Write the lock in the words of another program.",
    "tasks": "Show the tasks that were begun on this machine.",
    "cache": "Look after the store.",
    "doctor": "Show where each setting comes from, and what works here.",
    "each": "Run a command in every project of this repository.",
    "no-weights": "Refuse to commit models: a pre-commit hook.",
    "demo": "Show the whole story on this machine, in seconds.",
}


class _Commands(NamedGroup):
    """Commands that are imported late; `--help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"gemmalock.cli.commands.{name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(__version__, message="gemmalock %(version)s")
@global_flags
def program() -> None:
    """Get the exact model files a project needs onto a disk, and keep them exact.

    Declare models in gemmalock.yaml, pin them with `gemmalock lock`, and let `gemmalock sync` make the disk match.
    """
