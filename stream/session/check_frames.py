"""Holds a camera's frame table against itself, against the device's own numbers, and against the decoded video."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posestream.stream.disk.notes import DEVICE_ID_NOTES, Note
from posestream.stream.disk.tables import FrameState
from posestream.stream.session.check_manifest import CHECKSUM
from posestream.stream.session.tables import noted
from posestream.stream.session.video_times import DecodedVideo
from posestream.stream.wire.counters import CameraCounters

__all__ = ["check_device_ids", "check_frame_rows", "check_video_rows", "rows_in_device_order"]

GUESSED = (Note.FROM_POSES, Note.FROM_COUNTER)
"""Notes of frames that are known by their numbers alone."""
Indices = NDArray[np.int64]


def check_frame_rows(frames: pd.DataFrame, counters: CameraCounters | None) -> Iterator[str]:
    """Every frame that the device numbered has one row, in order, and it is known what became of it."""
    seq = frames["seq"].dropna().to_numpy(np.int64)
    if not np.array_equal(seq, np.arange(len(seq))):
        yield "frames.csv: the numbers of the delivered frames are not 0, 1, 2 ..."
    if (captured := counters.captured if counters is not None else 0) > len(seq):
        yield f"frames.csv: {captured - len(seq)} of the {captured} frames that were delivered have no row"
    if unknown := int((frames["state"] == FrameState.DELIVERED.value).sum()):
        yield f"frames.csv: {unknown} frames were delivered, and nothing says what became of them"
    yield from check_device_ids(frames)
    delivered = frames.dropna(subset=["captured_ns", "arrived_ns"])
    early = delivered["arrived_ns"] < delivered["captured_ns"]
    if early.any():
        yield f"frames.csv: {int(early.sum())} frames were there before they were captured"
    states = set(frames["state"].dropna()) - {state.value for state in FrameState}
    if states or frames["state"].isna().any():
        yield f"frames.csv: unknown states {sorted(states)}"


def check_device_ids(frames: pd.DataFrame) -> Iterator[str]:
    """From row to row the device's number goes up by one; where it does not, a note says why."""
    frames = frames.iloc[rows_in_device_order(frames)]
    odd = noted(frames, *DEVICE_ID_NOTES)
    guess = frames["state"].eq(FrameState.INTERRUPTED.value).fillna(False).to_numpy(bool) & noted(frames, *GUESSED)
    numbered = frames["device_id"].notna().to_numpy()
    ids, rows = frames["device_id"].dropna().to_numpy(np.int64), np.flatnonzero(numbered)
    odd, guess = odd[numbered], guess[numbered]
    # A frame without a number of its own stands for the next in order
    jumps = np.flatnonzero((np.diff(ids) != np.diff(rows)) & ~odd[1:] & ~guess[1:] & ~guess[:-1])
    if len(jumps):
        yield f"frames.csv: device ids jump after {ids[jumps[0]]} without a row for what is missing"


def rows_in_device_order(frames: pd.DataFrame) -> Indices:
    """Rows in the order of the device's numbers: late frames where they were missing, without those that came twice."""
    late, twice = noted(frames, Note.ID_CAME_LATE), noted(frames, Note.ID_REPEATS)
    if not late.any():
        return np.flatnonzero(~twice)
    begins = noted(frames, Note.IDS_BEGAN_ANEW, Note.ID_JUMPED)
    ids = frames["device_id"].to_numpy(np.float64, na_value=np.nan)
    order = np.arange(len(ids), dtype=np.float64)
    kept = ~twice
    for row in np.flatnonzero(late).tolist():
        overtaker = _overtaker(row, ids, late | twice, begins)
        kept[row] = overtaker is not None
        order[row] = row if overtaker is None else overtaker - 0.5
    rows = np.lexsort((ids, order))
    return np.asarray(rows[kept[rows]], np.int64)


def _overtaker(row: int, ids: NDArray[np.float64], passed: NDArray[np.bool_], begins: NDArray[np.bool_]) -> int | None:
    """Row of the first frame that overtook a late one.

    None where nothing stands for its number otherwise: before the first frame nothing is missing, and older sessions
    have a row `lost-camera` beside that of a late frame.
    """
    first = row
    for place in range(row - 1, -1, -1):
        if not passed[place] and ids[place] <= ids[row]:
            return first if ids[place] < ids[row] else None
        if begins[place]:
            return None
        if not passed[place] and ids[place] > ids[row]:
            first = place
    return None


def check_video_rows(recorded: pd.DataFrame, decoded: DecodedVideo, tolerance_us: int) -> Iterator[str]:
    """Frames in the file are the rows marked recorded, at the times and with the contents that the rows say."""
    times_us = decoded.times_us
    if len(times_us) != len(recorded):
        yield f"the video has {len(times_us)} frames, frames.csv says {len(recorded)}"
    if recorded[["seq", "video_frame", "pts_us"]].isna().any(axis=None):
        yield "frames.csv: rows marked recorded lack their number, place or time"
        return
    index = recorded["video_frame"].to_numpy(np.int64)
    if not np.array_equal(index, np.arange(len(index))):
        yield "frames.csv: places in the video are not 0, 1, 2 ..."
    both = min(len(times_us), len(recorded))
    said_us = recorded["pts_us"].to_numpy(np.int64)
    off = np.abs(times_us[:both] - said_us[:both]) > tolerance_us
    if off.any():
        yield f"the times of {int(off.sum())} frames differ from frames.csv, first of frame {int(np.argmax(off))}"
    # Recordings from before times rose by the container's tick may have two of one tick
    same = np.diff(said_us[:both]) <= 2 * tolerance_us if tolerance_us > 1 else np.zeros(max(both - 1, 0), bool)
    steps = np.diff(times_us[:both])
    if (steps < 0).any() or ((steps == 0) & ~same).any() or (np.diff(said_us) <= 0).any():
        yield "times in the video do not rise"
    if CHECKSUM in recorded:
        wrong = recorded[CHECKSUM].fillna("").to_numpy(object)[:both] != [f"{one:08x}" for one in decoded.crc32[:both]]
        if wrong.any():
            first = int(wrong.argmax())
            yield f"{int(wrong.sum())} frames of the video are not those that were recorded, first frame {first}"
