"""What the commands share: their exit statuses, and how one ends with a sentence."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from posestream.stream.run.supervisor import StartError

__all__ = [
    "FAILED",
    "OK",
    "PRECISIONS",
    "WRONG_USE",
    "debugging",
    "fail",
    "fail_start",
    "named_model",
    "plain",
]

OK, FAILED, WRONG_USE = 0, 1, 2
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")


def named_model(model: Path) -> str:
    """Give a model as a rig names it: a network of the package by its name, others by their path from anywhere."""
    from posestream.inference.formats.bundled import bundled_networks

    by_name = not model.exists() and str(model) in bundled_networks()
    return str(model if by_name else model.absolute())


def fail_start(error: "StartError", status: int) -> NoReturn:
    """End with what kept a run from starting, and where its log is."""
    if error.place and debugging():
        click.echo(error.place, err=True)
    hint = "" if debugging() else " (posestream --debug shows the traceback)"
    fail(str(error) + (f"\nlog: {error.log}{hint}" if error.log is not None else ""), status)


def debugging() -> bool:
    """Say whether `--debug` was given."""
    return bool(click.get_current_context().find_root().params["debug"])


def fail(text: str, status: int) -> NoReturn:
    """End with a sentence for people."""
    from posestream.stream.run.fitting import terminal_width, wrap

    click.echo(wrap(f"error: {plain(text)}", terminal_width(sys.stderr)), err=True)
    sys.exit(status)


def plain(text: str) -> str:
    """Give a text as a terminal may show it: what a stranger's file says must not move the cursor."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)
