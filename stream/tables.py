"""Reads the tables of a session back, whatever cut them short."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posestream.stream.wire.tables import POSE_COLUMNS, FrameState, whole_lines

__all__ = ["read_frames", "read_poses", "read_skipped", "recorded_poses", "skipped_frames"]

_WHOLE = "Int64"  # a whole number, or nothing
_FRAME_TYPES = dict.fromkeys(
    ("seq", "device_id", "device_time", "captured_ns", "arrived_ns", "wall_ns", "video_frame", "pts_us"), _WHOLE
)


def _read(path: Path, types: dict[str, str]) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(whole_lines(path)), dtype=types, keep_default_na=False, na_values=[""])


def read_frames(folder: Path) -> pd.DataFrame:
    """Read `frames.csv` of a camera's folder; columns are `FRAME_COLUMNS`."""
    return _read(folder / "frames.csv", {**_FRAME_TYPES, "state": "string", "note": "string"})


def read_poses(folder: Path) -> pd.DataFrame:
    """Read `poses.csv`: `POSE_COLUMNS`, then x, y and likelihood of each body part."""
    return _read(folder / "poses.csv", dict.fromkeys(POSE_COLUMNS, _WHOLE))


def read_skipped(folder: Path) -> pd.DataFrame:
    """Read `skipped.csv`; columns are `SKIPPED_COLUMNS`."""
    return _read(folder / "skipped.csv", {"first_seq": _WHOLE, "last_seq": _WHOLE, "count": _WHOLE, "cause": "string"})


def skipped_frames(skipped: pd.DataFrame) -> NDArray[np.int64]:
    """Give the number of every frame in the runs of `skipped.csv`, as often as it stands there."""
    runs = zip(skipped["first_seq"], skipped["last_seq"], strict=True)
    return np.concatenate([np.array([], np.int64), *(np.arange(first, last + 1) for first, last in runs)])


def recorded_poses(frames: pd.DataFrame, poses: pd.DataFrame) -> NDArray[np.float64]:
    """Put the poses beside the frames of the video.

    Returns
    -------
    NDArray[np.float64]
        (frames in the video, K * 3); NaN where a frame has no pose.
    """
    recorded = frames.loc[frames["state"] == FrameState.RECORDED.value, "seq"]
    values = poses.drop(columns=list(POSE_COLUMNS)).set_axis(poses["frame_seq"], axis="index")
    return values[~values.index.duplicated()].reindex(recorded).to_numpy(np.float64)
