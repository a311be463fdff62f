"""Fills the column `pose` of `frames.csv`, which nobody can know before the session is closed."""

import csv
from collections.abc import Iterable
from pathlib import Path

from posestream.stream.disk.durable import replacing

__all__ = ["COLUMN", "write_pose_states"]

COLUMN = "pose"


def write_pose_states(folder: Path, states: Iterable[str]) -> None:
    """Say in `frames.csv` of each frame whether its pose is live, backfilled or not there.

    The table is copied row by row and then replaced as a whole, so that no row can be lost and no other cell changes.
    A table from before the column existed gets it.

    Parameters
    ----------
    folder
        The camera's folder.
    states
        A `PoseState` for each row.

    Raises
    ------
    OSError, ValueError
        Where the table can't be read or written, or has other rows than `states`.
    """
    path = folder / "frames.csv"
    with (
        replacing(path) as temporary,
        path.open(encoding="utf-8", newline="") as old,
        temporary.open("w", encoding="utf-8", newline="") as new,
    ):
        rows, writer = csv.reader(old), csv.writer(new, lineterminator="\n")
        header = next(rows)
        place = header.index(COLUMN) if COLUMN in header else len(header)
        writer.writerow([*header[:place], COLUMN, *header[place + 1 :]])
        for row, state in zip(rows, states, strict=True):
            row[place : place + 1] = [state]
            writer.writerow(row)
