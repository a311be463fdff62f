"""Says what of a recording is not in its video: frames, seconds, and the longest gap."""

from typing import TypedDict

import numpy as np
import pandas as pd

from posestream.stream.disk.tables import LOST_STATES, FrameState

__all__ = ["LostFrames", "lost_frames", "say_lost"]


class LostFrames(TypedDict):
    """What of a recording is not in its video."""

    frames: int
    """Those that should be in the video and are not."""
    seconds: float
    """The time for which it lacks them."""
    longest_gap_s: float
    """The longest time between two neighbouring frames of the video of which some are missing in between; its
    beginning and end are those of what was delivered."""


def lost_frames(frames: pd.DataFrame) -> LostFrames:
    """Count what was lost, by the rows of a camera and the times in them.

    Parameters
    ----------
    frames
        The frame table.
    """
    lost = frames["state"].isin([state.value for state in LOST_STATES]).to_numpy(bool)
    found: LostFrames = {"frames": int(lost.sum()), "seconds": 0.0, "longest_gap_s": 0.0}
    times = frames["captured_ns"].to_numpy(np.float64, na_value=np.nan)
    timed = np.flatnonzero(~np.isnan(times))
    if not lost.any() or not len(timed):
        return found
    marks = np.flatnonzero((frames["state"] == FrameState.RECORDED.value).to_numpy(bool) & ~np.isnan(times))
    marks = np.union1d(marks, timed[[0, -1]])
    before = np.concatenate([[0], np.cumsum(lost)])  # frames lost before each row
    missing = (before[marks[1:] + 1] - before[marks[:-1]]) > 0
    spans = np.diff(times[marks]) / 1e9
    usual = float(np.median(spans[~missing])) if (~missing).any() else 0.0
    if missing.any():
        found["seconds"] = round(float(np.maximum(spans[missing] - usual, 0).sum()), 3)
        found["longest_gap_s"] = round(float(spans[missing].max()), 3)
    return found


def say_lost(lost: LostFrames) -> str:
    """Say it in words."""
    if not lost["frames"]:
        return "nothing was lost"
    return (
        f"{lost['frames']} frames are not in the video, {lost['seconds']:.2f} s in all; "
        f"the longest gap has {lost['longest_gap_s']:.2f} s"
    )
