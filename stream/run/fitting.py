"""Text that fits the terminal: a line that leaves out what matters least, and paragraphs that break between words."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.cells import cell_len

__all__ = ["Part", "fit_line", "terminal_width", "wrap"]

SEPARATOR = " | "


@dataclass(frozen=True)
class Part:
    """A part of a line."""

    matters: int
    """The part that matters least is shortened first."""
    forms: tuple[str, ...]
    """What may stand there, from the longest to the shortest; an empty one leaves it out."""


def fit_line(parts: Sequence[Part], width: int | None) -> str:
    """Join parts to one line.

    Parameters
    ----------
    parts
        In their order on the line.
    width
        Cells that there are; None: as long as it gets.
    """
    forms = [list(part.forms) for part in parts]

    def line() -> str:
        return SEPARATOR.join(form[0] for form in forms if form[0])

    while width is not None and cell_len(line()) > width:
        shorter = [number for number, form in enumerate(forms) if len(form) > 1]
        if not shorter:
            return line()[:width]
        forms[min(shorter, key=lambda number: parts[number].matters)].pop(0)
    return line()


def terminal_width(stream: TextIO) -> int | None:
    """Give the width of the terminal that a stream goes to; None where it goes to a file or a program."""
    try:
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else None
    except (OSError, ValueError):
        return None


def wrap(text: str, width: int | None, indent: int = 0, *, hanging: bool = False) -> str:
    """Break text between words, never within one: a path that is longer than the line stays whole.

    Parameters
    ----------
    text
        Its own line breaks are kept.
    width
        Cells of the terminal; None: no breaks.
    indent
        Cells before each of its lines but the first.
    hanging
        Whether what is broken off the first line is indented, too. What is broken off a line of its own indentation
        stands two cells further in.
    """
    lines = text.split("\n")
    before = [" " * indent if number else "" for number in range(len(lines))]
    if width is None or width <= 2 * indent:
        return "\n".join(first + line for first, line in zip(before, lines, strict=True))
    return "\n".join(
        textwrap.fill(
            line,
            width - 1,
            initial_indent=first,
            subsequent_indent=_further(line, " " * indent if hanging else first),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for first, line in zip(before, lines, strict=True)
    )


def _further(line: str, indent: str) -> str:
    own = len(line) - len(line.lstrip())
    return indent if indent or not own else " " * (own + 2)
