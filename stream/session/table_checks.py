"""Looks at all tables and the events of a session before a program changes any of it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from posestream.stream.disk.tables import backfilled_columns, pose_columns
from posestream.stream.session.events import EVENTS, read_events
from posestream.stream.session.session_record import SessionRecord
from posestream.stream.session.table_reader import TableError
from posestream.stream.session.tables import read_backfilled, read_frames, read_poses, read_skipped, read_truth

__all__ = ["check_camera", "check_tables"]

MOST_BEHIND = 10**7
"""Frames by which the tables of poses may be ahead of `frames.csv`: each gets a row there."""


def check_tables(folder: Path, session: SessionRecord, *, network: bool = True) -> None:
    """See that the tables that are there, and the events, can be read.

    Parameters
    ----------
    folder
        The session folder.
    session
        Its record.
    network
        Whether they must be of the session's network, too.

    Raises
    ------
    TableError
        Where one can't be used; the text names it.
    OSError
        Where one can't be read.
    """
    try:
        if (folder / EVENTS).exists():
            read_events(folder)
    except ValueError as error:
        raise TableError(f"{EVENTS} can't be read: {error}") from error
    for name in session.cameras:
        try:
            check_camera(folder / name, session.bodyparts, network=network)
        except TableError as error:
            raise TableError(f"camera {name}: {error}") from error


def check_camera(folder: Path, bodyparts: Sequence[str] | None, *, network: bool = True) -> None:
    """See that the tables of a camera's folder can be read, as `check_tables` does.

    Raises
    ------
    TableError, OSError
        As `check_tables`.
    """
    frames = read_frames(folder) if _is_there(folder / "frames.csv") else None
    if bodyparts is None:
        return
    last = -1 if frames is None or not frames["seq"].notna().any() else int(frames["seq"].max())
    if _is_there(folder / "poses.csv"):
        poses = read_poses(folder)
        _check_columns("poses.csv", poses, pose_columns(bodyparts) if network else ())
        _check_numbers("poses.csv", poses["frame_seq"], last)
    if _is_there(folder / "skipped.csv"):
        _check_numbers("skipped.csv", read_skipped(folder)["last_seq"], last)
    backfilled = read_backfilled(folder)
    if backfilled is not None:
        _check_columns("backfilled.csv", backfilled, backfilled_columns(bodyparts) if network else ())
        _check_numbers("backfilled.csv", backfilled["frame_seq"], last)
    read_truth(folder)


def _is_there(path: Path) -> bool:
    """Whether there is a line in it: a kill may come before the first."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        return b"\n" in file.read(2**20).partition(b"\0")[0]


def _check_columns(name: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if columns and tuple(table.columns) != columns:
        raise TableError(f"{name} is not of the session's network: it has other columns")


def _check_numbers(name: str, numbers: "pd.Series[int]", last: int) -> None:
    if numbers.isna().any():
        raise TableError(f"{name} has rows without a frame's number")
    if len(numbers) and numbers.max() > last + MOST_BEHIND:
        raise TableError(f"{name} names frame {numbers.max()}; the last in frames.csv is {last}")
