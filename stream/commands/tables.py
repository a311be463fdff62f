"""Tables that are read in a terminal and can be pasted as Markdown."""

from collections.abc import Mapping, Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["markdown_table"]

UNBROKEN = 10_000
"""Characters of a line, more than any has: Markdown's rows can't be broken."""


def markdown_table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Give the lines of a table.

    Parameters
    ----------
    rows
        Cells by their columns' names; all have the columns of the first.
    """
    table = Table(box=box.MARKDOWN)
    for name in rows[0]:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text(str(row[name])) for name in rows[0]))
    printed = StringIO()
    Console(file=printed, width=UNBROKEN, color_system=None).print(table)
    return [line for line in printed.getvalue().splitlines() if line.strip()]  # rich leaves a line above and below
