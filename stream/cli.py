"""The command line: the commands' names, and what becomes of their errors.

A command is imported when it is called or described, and what is heavy by the command that needs it, so that help comes
at once.
"""

import importlib
import os
import sys
from typing import Any

import click

from posestream.stream.commands.common import plain
from posestream.stream.wire.errors import FAILED, OK, UserError
from posestream.stream.wire.interrupts import hangup_is_interrupt

__all__ = ["main"]

COMMANDS = {
    "bench": ("bench",),
    "machine": ("cameras", "doctor", "keys"),
    "models": ("model",),
    "run": ("demo", "join", "run", "subscribe"),
    "sessions": ("backfill", "recover", "verify"),
    "training": ("distil", "train"),
    "videos": ("analyze",),
}
"""Modules of `posestream.stream.commands`, and the commands that each has: functions of the same names."""


class _Commands(click.Group):
    """Finds the commands, and turns errors into sentences; `--debug` shows the traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(name for names in COMMANDS.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module = next((module for module, names in COMMANDS.items() if cmd_name in names), None)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(f"posestream.stream.commands.{module}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except UserError as error:
            _tell(error, debug=ctx.params["debug"])
            sys.exit(error.exit_status)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(OK)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(FAILED)
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {type(error).__name__}: {error} (posestream --debug shows more)", err=True)
            sys.exit(FAILED)


def _tell(error: UserError, *, debug: bool) -> None:
    """Show an error as a sentence, and where its log is; `--debug` shows where another process broke."""
    from posestream.stream.run.fitting import terminal_width, wrap

    if error.place and debug:
        click.echo(error.place, err=True)
    hint = "" if debug else " (posestream --debug shows the traceback)"
    text = str(error) + (f"\nlog: {error.log}{hint}" if error.log is not None else "")
    click.echo(wrap(f"error: {plain(text)}", terminal_width(sys.stderr)), err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="posestream")
def main(debug: bool) -> None:
    """Record lab cameras with H.264 and stream DeepLabCut poses at the same time.

    Exit status: 0 as asked, 1 the work failed or data was lost, 2 wrong use.
    """
    if debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0")  # else `posestream.inference` keeps TensorFlow quiet
    hangup_is_interrupt()
