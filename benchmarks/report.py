"""Tables of the programs beside this one, as Markdown."""

from collections.abc import Sequence
from typing import Any

__all__ = ["markdown"]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Give rows of equal keys as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
