"""Tables of the programs beside this one, as Markdown."""

from collections.abc import Sequence
from typing import Any

from posestream.stream.commands.tables import markdown_table

__all__ = ["markdown"]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Give rows of equal keys as a Markdown table."""
    return "\n".join(markdown_table(rows))
