"""What the commands share: names that they take, and what they may print."""

from pathlib import Path
from typing import get_args

import click

from posestream.stream.wire.choices import PrecisionChoice

__all__ = ["PRECISIONS", "debugging", "named_model", "plain"]

PRECISIONS = get_args(PrecisionChoice)


def named_model(model: Path) -> str:
    """Give a model as a rig names it: a network of the package by its name, others by their path from anywhere."""
    from posestream.inference.formats.bundled import bundled_networks

    by_name = not model.exists() and str(model) in bundled_networks()
    return str(model if by_name else model.absolute())


def debugging() -> bool:
    """Say whether `--debug` was given."""
    return bool(click.get_current_context().find_root().params["debug"])


def plain(text: str) -> str:
    """Give a text as a terminal may show it: what a stranger's file says must not move the cursor."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)
