"""Reads the tables of a session back, whatever cut them short."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posestream.stream.disk.notes import Note, notes_in
from posestream.stream.disk.tables import BACKFILLED_COLUMNS, POSE_COLUMNS, FrameState, PoseState, whole_lines
from posestream.stream.session.table_reader import checked_runs, read_table

__all__ = [
    "noted",
    "number_runs",
    "pose_states",
    "read_backfilled",
    "read_frames",
    "read_poses",
    "read_skipped",
    "read_truth",
    "recorded_poses",
    "skipped_frames",
]

_WHOLE = "Int64"  # a whole number, or nothing
_FRAME_TYPES = dict.fromkeys(
    ("seq", "device_id", "device_time", "captured_ns", "arrived_ns", "wall_ns", "video_frame", "pts_us"), _WHOLE
)


def read_frames(folder: Path) -> pd.DataFrame:
    """Read `frames.csv` of a camera; columns are `FRAME_COLUMNS`, of which older sessions lack `pose` and `crc32`."""
    return read_table(folder / "frames.csv", _FRAME_TYPES | dict.fromkeys(("crc32", "state", "note", "pose"), "string"))


def read_poses(folder: Path) -> pd.DataFrame:
    """Read `poses.csv`: `POSE_COLUMNS`, then x, y and likelihood of each body part."""
    return read_table(folder / "poses.csv", dict.fromkeys(POSE_COLUMNS, _WHOLE), keypoints=True)


def read_backfilled(folder: Path) -> pd.DataFrame | None:
    """Read `backfilled.csv`: `BACKFILLED_COLUMNS`, then as `poses.csv`; None where nothing was ever backfilled."""
    path = folder / "backfilled.csv"
    if not path.exists() or not whole_lines(path):
        return None
    return read_table(path, dict.fromkeys(BACKFILLED_COLUMNS, _WHOLE), keypoints=True)


def read_skipped(folder: Path) -> pd.DataFrame:
    """Read `skipped.csv`; columns are `SKIPPED_COLUMNS`."""
    types = dict.fromkeys(("first_seq", "last_seq", "count"), _WHOLE)
    return checked_runs(read_table(folder / "skipped.csv", {**types, "cause": "string"}))


def read_truth(folder: Path) -> pd.DataFrame | None:
    """Read `truth.csv`: `seq`, then x and y of each body part; None where the camera is none that knows them.

    Places are NaN where a view of the camera does not show the body part.
    """
    path = folder / "truth.csv"
    return read_table(path, {"seq": _WHOLE}, nothing=("", "nan"), keypoints=True) if path.exists() else None


def skipped_frames(skipped: pd.DataFrame) -> NDArray[np.int64]:
    """Give the number of every frame in the runs of `skipped.csv`, as often as it stands there."""
    runs = zip(skipped["first_seq"], skipped["last_seq"], strict=True)
    return np.concatenate([np.array([], np.int64), *(np.arange(first, last + 1) for first, last in runs)])


def noted(frames: pd.DataFrame, *notes: Note) -> NDArray[np.bool_]:
    """Say of each row of `frames.csv` whether it has one of some notes."""
    wanted = frozenset(notes)
    return np.array([not wanted.isdisjoint(notes_in(cell)) for cell in frames["note"].fillna("")], bool)


def number_runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of successive numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def recorded_poses(frames: pd.DataFrame, poses: pd.DataFrame, backfilled: pd.DataFrame | None) -> NDArray[np.float64]:
    """Put the poses beside the frames of the video.

    Returns
    -------
    NDArray[np.float64]
        (frames in the video, K * 3); NaN where a frame has no pose.
    """
    recorded = frames.loc[frames["state"] == FrameState.RECORDED.value, "seq"]
    values = poses.drop(columns=list(POSE_COLUMNS)).set_axis(poses["frame_seq"], axis="index")
    if backfilled is not None and len(backfilled):
        more = backfilled.drop(columns=list(BACKFILLED_COLUMNS)).set_axis(backfilled["frame_seq"], axis="index")
        values = pd.concat([values, more]) if len(values) else more
    return values[~values.index.duplicated()].reindex(recorded).to_numpy(np.float64)


def pose_states(seq: "pd.Series[int]", poses: pd.DataFrame | None, backfilled: pd.DataFrame | None) -> "pd.Series[str]":
    """Say of each row of `frames.csv` where its pose is.

    Parameters
    ----------
    seq
        The column of that name; missing where the device lost the frame.
    poses, backfilled
        The tables of poses; none where there are none.

    Returns
    -------
    pd.Series
        A `PoseState` for each row.
    """
    states = pd.Series(PoseState.NONE.value, index=seq.index, dtype="string")
    # A live pose stands above a backfilled one, so it comes last.
    for table, state in ((backfilled, PoseState.BACKFILLED), (poses, PoseState.LIVE)):
        if table is not None:
            states[seq.isin(table["frame_seq"].dropna()) & seq.notna()] = state.value
    return states
