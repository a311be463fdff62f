"""Holds a camera's tables of poses, and DeepLabCut's files, against its frame table."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posestream.inference.formats.hdf_tables import HdfTableError, read_hdf_table
from posestream.stream.disk.tables import BACKFILLED_COLUMNS, PoseState
from posestream.stream.session.pose_states import COLUMN
from posestream.stream.session.tables import skipped_frames
from posestream.stream.wire.details import ModelDetails

__all__ = ["check_backfilled_rows", "check_deeplabcut_files", "check_pose_rows", "check_pose_states"]

Indices = NDArray[np.int64]


def check_pose_rows(frames: pd.DataFrame, poses: pd.DataFrame, skipped: pd.DataFrame) -> Iterator[str]:
    """Each delivered frame has one pose or one skip record."""
    posed = poses["frame_seq"].to_numpy(np.int64)
    if (np.diff(posed) <= 0).any():
        yield "poses.csv: frames are not in order, or have two poses"
    delivered = frames["seq"].dropna().to_numpy(np.int64)
    fates, counts = np.unique(np.concatenate([posed, skipped_frames(skipped)]), return_counts=True)
    if (counts > 1).any():
        yield f"{int((counts > 1).sum())} frames have both a pose and a skip record, or two skip records"
    strangers, silent = np.setdiff1d(fates, delivered), np.setdiff1d(delivered, fates)
    if len(strangers):
        yield f"{len(strangers)} poses or skipped frames belong to no frame in frames.csv"
    if len(silent):
        yield f"{len(silent)} frames have neither a pose nor a skip record, first of them frame {silent[0]}"
    both = poses.merge(frames, left_on="frame_seq", right_on="seq", suffixes=("", "_frame"))
    for column in ("device_id", "captured_ns"):
        pair = both[[column, f"{column}_frame"]].dropna()
        if others := int((pair[column] != pair[f"{column}_frame"]).sum()):
            yield f"poses.csv: {others} poses have another {column} than their frame"


def check_backfilled_rows(recorded: pd.DataFrame, backfilled: pd.DataFrame) -> Iterator[str]:
    """Backfilled poses are of frames in the video, one of each at most."""
    if backfilled["frame_seq"].duplicated().any():
        yield "backfilled.csv: frames have two poses"
    places = backfilled.merge(recorded, left_on="frame_seq", right_on="seq", how="left", suffixes=("", "_frame"))
    if others := int((places["video_frame"] != places["video_frame_frame"]).fillna(True).sum()):
        yield f"backfilled.csv: {others} poses are not of the frame of the video that they name"
    if backfilled.drop(columns=list(BACKFILLED_COLUMNS)).isna().any(axis=None):
        yield "backfilled.csv: poses have empty cells"


def check_pose_states(
    frames: pd.DataFrame, poses: pd.DataFrame | None, backfilled: pd.DataFrame | None
) -> Iterator[str]:
    """`live` is one live pose and no other, `backfilled` one backfilled pose and no other, `none` neither."""
    if missing := int(frames[COLUMN].isna().sum()):
        yield f"frames.csv: {missing} frames have no pose state"
    if unknown := set(frames[COLUMN].dropna()) - {state.value for state in PoseState}:
        yield f"frames.csv: unknown pose states {sorted(unknown)}"
    live, later = (_number_of(frames["seq"], table) for table in (poses, backfilled))
    for state, numbers in {PoseState.LIVE: (1, 0), PoseState.BACKFILLED: (0, 1), PoseState.NONE: (0, 0)}.items():
        rows = (frames[COLUMN] == state.value).fillna(False).to_numpy(bool)
        wrong = np.flatnonzero(rows & ((live != numbers[0]) | (later != numbers[1])))
        if len(wrong):
            first = wrong[0] + 1
            yield f"frames.csv: {len(wrong)} rows say {state.value}, against the tables of poses; first row {first}"


def _number_of(seq: "pd.Series[int]", table: pd.DataFrame | None) -> Indices:
    """How many poses a table has of each frame."""
    if table is None:
        return np.zeros(len(seq), np.int64)
    return np.asarray(seq.map(table["frame_seq"].value_counts()).fillna(0), np.int64)


def check_deeplabcut_files(stem: Path, model: ModelDetails, expected: NDArray[np.float64]) -> Iterator[str]:
    """DeepLabCut's tables say what the tables of poses say. None of these files is unpickled."""
    h5, text, meta = (stem.with_name(stem.name + ending) for ending in (".h5", ".csv", "_meta.pickle"))
    parts = [(part, value) for part in model.bodyparts for value in ("x", "y", "likelihood")]
    for path in (h5, text, meta):
        if not path.exists():
            yield f"{path.name} is missing"
        elif path == text:
            values = pd.read_csv(path, skiprows=3, header=None, index_col=0).to_numpy()
            yield from _same(path, values, expected)
        elif path == h5:
            try:
                table = read_hdf_table(path)
            except HdfTableError as error:
                yield str(error).removesuffix(".")
                continue
            if [column[1:] for column in table.columns] != parts:
                yield f"{path.name} has other columns than the session's network"
            yield from _same(path, table.values, expected)


def _same(path: Path, values: NDArray[np.float64], expected: NDArray[np.float64]) -> Iterator[str]:
    # Text may come back with another last bit.
    if values.shape != expected.shape or not np.allclose(values, expected, rtol=1e-12, atol=0, equal_nan=True):
        yield f"{path.name} differs from the tables of poses"
