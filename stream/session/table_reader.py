"""Reads one of a session's tables, whoever wrote it: what comes out has the columns and numbers that it should have.

pandas raises anything on what is no table of ours, or takes words for a column of numbers; and a number of 19 digits
where a frame's number should be would ask for any amount of memory later.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from posestream.stream.disk.tables import whole_lines
from posestream.stream.wire.errors import UserError

__all__ = ["UNREADABLE", "TableError", "checked_runs", "read_table"]

UNREADABLE = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What pandas, FFmpeg and our own reading of records raise on files that are no run's."""

LATER = frozenset({"pose", "crc32"})
"""Columns that came to be: older sessions lack them."""
NUMBERS = frozenset({"seq", "frame_seq", "first_seq", "last_seq", "count", "video_frame", "pose_seq", "batch_size"})
"""Columns that count something, and so are never negative, nor more than a camera gives in weeks."""
LARGEST_NUMBER = 2**31
MOST_SKIPPED = 2**27
"""Frames in all runs together: more than a camera gives in a day and a half at 1,000 frames a second."""
WHOLE = "Int64"


class TableError(UserError, ValueError):
    """A table that can't be used; the text names the file and the place."""


def read_table(
    path: Path, types: dict[str, str], *, nothing: Sequence[str] = ("",), keypoints: bool = False
) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path
        The file.
    types
        Columns that it must have, and pandas' name of each one's type; those of `LATER` may be absent.
    nothing
        Texts that stand for an empty cell.
    keypoints
        Whether all other columns hold numbers; if not, they are not looked at.

    Raises
    ------
    TableError
        Where it is no such table.
    OSError
        Where it can't be read.
    """
    data = whole_lines(path)
    try:
        header = next(csv.reader([data.partition(b"\n")[0].decode()]), [])
        _check_header(header, types)
        table = pd.read_csv(io.BytesIO(data), dtype=types, keep_default_na=False, na_values=list(nothing))
    # pandas raises anything on what is no table
    except UNREADABLE as error:
        problem = " ".join(str(error).split())[:200]
        raise TableError(f"{path.name} can't be read: {problem}") from error
    if list(table.columns) != header or not isinstance(table.index, pd.RangeIndex):
        raise TableError(f"{path.name} can't be read: its lines have more cells than its first one")
    for name in table.columns:
        _check_column(path, name, table[name], whole=types.get(name) == WHOLE, number=keypoints and name not in types)
    return table


def _check_header(header: list[str], types: dict[str, str]) -> None:
    missing = [name for name in types if name not in header and name not in LATER]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    if len(set(header)) != len(header):
        raise ValueError("a column is there twice")


def _check_column(path: Path, name: str, column: "pd.Series[float]", *, whole: bool, number: bool) -> None:
    if number and len(column) and column.dtype.kind not in "iuf":  # without rows it has no kind
        raise TableError(f"{path.name}: column {name[:100]!a} holds something else than numbers")
    if whole and name in NUMBERS:
        wrong = ((column < 0) | (column >= LARGEST_NUMBER)).fillna(False)
        if wrong.any():
            raise TableError(f"{path.name}: column {name} holds {column[wrong].iloc[0]}")


def checked_runs(skipped: pd.DataFrame) -> pd.DataFrame:
    """Give the rows of `skipped.csv` back, once each is a run of frames, and all together are not beyond all measure.

    Raises
    ------
    TableError
        Where not.
    """
    first, last = skipped["first_seq"], skipped["last_seq"]
    if skipped[["first_seq", "last_seq", "count"]].isna().any(axis=None) or (first > last).any():
        raise TableError("skipped.csv: a row is no run of frames")
    if (last - first + 1).sum() > MOST_SKIPPED:
        raise TableError(f"skipped.csv names more than {MOST_SKIPPED:,} frames")
    return skipped
