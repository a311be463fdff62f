"""Holds the times of a session's tables against each other, and against the clocks that `session.json` has."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posestream.stream.disk.notes import REPAIRED_TIMES, Note
from posestream.stream.disk.tables import FrameState
from posestream.stream.session.session_record import SessionRecord, known
from posestream.stream.session.tables import noted

__all__ = ["Clocks", "check_batches", "check_frame_times", "check_pose_times", "clocks_of"]

SLACK_NS = 1_000_000_000
"""A device may stamp frames that it exposed just before it was started."""
WALL_NS = 50_000_000
"""Wall clocks are read to 16 ms on some systems."""
DRIFT = 5e-4
"""The most by which a clock that is kept in time is made faster or slower."""
NEIGHBOURS = 5
ODD_SHARE = 0.1
"""Of the frames; where more have other times in the video, the camera gave them times of its own."""
CAMERA_STAGES = ("captured_ns", "sent_ns")
INFERENCE_STAGES = ("received_ns", "batched_ns", "inferred_ns", "published_ns")
RECORDER_STAGES = ("subscribed_ns",)
SHIFTED = (Note.PTS_CLOCK_SET_BACK, Note.PTS_LONG_PAUSE)
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Clocks:
    """What the clocks of the machine said when the session began, and when it ended."""

    begin_ns: int
    """Monotonic."""
    end_ns: int | None
    """None where the run was cut off."""
    offsets_ns: tuple[int, ...]
    """Wall clock less monotonic clock."""

    def outside(self, times_ns: "pd.Series[int]") -> int:
        """How many times lie before the session, or after it."""
        early = times_ns < self.begin_ns - SLACK_NS
        late = times_ns > self.end_ns if self.end_ns is not None else early & False
        return int((early | late).sum())


def clocks_of(session: SessionRecord) -> Clocks | None:
    """Read the clocks of `session.json`; None where an old session has none."""
    anchors = known(session.clock_anchors, [])
    if not anchors:
        return None
    offsets = tuple(anchor.wall_ns - anchor.monotonic_ns for anchor in anchors)
    end_ns = anchors[-1].monotonic_ns if len(anchors) > 1 else None
    return Clocks(anchors[0].monotonic_ns, end_ns, offsets)


def check_frame_times(frames: pd.DataFrame, clocks: Clocks | None, tolerance_us: int, *, played: bool) -> Iterator[str]:
    """See that times of frames rise, lie within the session, and agree: exposure, wall clock, video.

    Parameters
    ----------
    frames
        `frames.csv`.
    clocks
        Those of the session; none where nobody knows them.
    tolerance_us
        Microseconds by which the video's container rounds.
    played
        Whether the camera played a video, whose times it kept.
    """
    timed = frames.dropna(subset=["captured_ns"])
    back = int((np.diff(timed["captured_ns"].to_numpy(np.int64)) < 0).sum())
    if back:
        yield f"frames.csv: captured_ns goes back (times: {back})"
    if clocks is not None:
        for column in ("captured_ns", "arrived_ns"):
            if outside := clocks.outside(frames[column].dropna()):
                yield f"frames.csv: {outside} times in {column} are not within the session's"
    yield from _wall(frames.dropna(subset=["captured_ns", "wall_ns"]), clocks)
    if not played:
        yield from _video_times(frames, tolerance_us)


def _wall(frames: pd.DataFrame, clocks: Clocks | None) -> Iterator[str]:
    """See that the wall clock is as far from the monotonic one as it was at the session's begin and end."""
    captured = frames["captured_ns"].to_numpy(np.int64)
    offsets = frames["wall_ns"].to_numpy(np.int64) - captured
    if not len(offsets):
        return
    if clocks is not None:
        low, high = min(clocks.offsets_ns), max(clocks.offsets_ns)
        drift = DRIFT * (captured - clocks.begin_ns).clip(min=0) if clocks.end_ns is None else 0
        odd = (offsets < low - WALL_NS - drift) | (offsets > high + WALL_NS + drift)
        if odd.any():
            yield f"frames.csv: wall_ns of {int(odd.sum())} frames is not that of the clocks in session.json"
    if len(offsets) >= NEIGHBOURS:
        relative = pd.Series((offsets - offsets[0]).astype(np.float64))
        around = relative.rolling(NEIGHBOURS, center=True, min_periods=1).median()
        odd = ((relative - around).abs() > WALL_NS).to_numpy()
        if odd.any():
            yield f"frames.csv: wall_ns of {int(odd.sum())} frames differs from that of the frames around them"


def _video_times(frames: pd.DataFrame, tolerance_us: int) -> Iterator[str]:
    """See that the time in the video follows from the exposure, unless a note says that it was repaired."""
    frames = frames[frames["state"] == FrameState.RECORDED.value].dropna(subset=["captured_ns", "pts_us"])
    # Each repair that moves the frames behind it begins a stretch of its own.
    stretch = noted(frames, *SHIFTED).cumsum()
    sound = ~noted(frames, *REPAIRED_TIMES, Note.FROM_VIDEO)
    captured = frames["captured_ns"].to_numpy(np.int64)[sound]
    if len(captured) < NEIGHBOURS:
        return
    apart = (captured - captured[0]) // 1_000 - frames["pts_us"].to_numpy(np.int64)[sound]
    usual = pd.Series(apart).groupby(stretch[sound]).transform("median").to_numpy(np.float64)
    odd = np.abs(apart - usual) > 1 + 2 * (tolerance_us - 1)
    # A camera of a lab may play videos, too.
    if odd.any() and odd.mean() < ODD_SHARE:
        yield f"frames.csv: captured_ns and pts_us of {int(odd.sum())} frames disagree"


def check_pose_times(
    poses: pd.DataFrame, clocks: Clocks | None, *, local_camera: bool, local_inference: bool
) -> Iterator[str]:
    """Stages of a pose follow each other, and each stage of one pose that of the pose before.

    Parameters
    ----------
    poses
        `poses.csv` of a camera.
    clocks
        Those of the session; none where nobody knows them.
    local_camera, local_inference
        Whether they ran on the machine of the pose recorder; stamps of different machines are not compared.
    """
    local: tuple[str, ...] = CAMERA_STAGES if local_camera else ()
    local += INFERENCE_STAGES if local_inference else ()
    for stages in dict.fromkeys(((*local, *RECORDER_STAGES), CAMERA_STAGES, INFERENCE_STAGES)):
        for before, after in itertools.pairwise(stages):
            if wrong := int((poses[after] < poses[before]).sum()):
                yield f"poses.csv: {after} of {wrong} poses lies before their {before}"
    for column in (*CAMERA_STAGES, *INFERENCE_STAGES, *RECORDER_STAGES):
        if poses[column].isna().any():
            yield f"poses.csv: poses without {column}"
        elif (np.diff(poses[column].to_numpy(np.int64)) < 0).any():
            yield f"poses.csv: {column} goes back from one pose to the next"
    if clocks is not None:
        for column in (*local, *RECORDER_STAGES):
            if outside := clocks.outside(poses[column].dropna()):
                yield f"poses.csv: {outside} times in {column} are not within the session's"
    if (np.diff(poses["pose_seq"].dropna().to_numpy(np.int64)) <= 0).any():
        yield "poses.csv: pose_seq does not rise"


def check_batches(tables: Sequence[pd.DataFrame]) -> Iterator[str]:
    """Poses that were in one batch, of whatever camera, left the network in one moment and are not too many."""
    poses = pd.concat(tables) if tables else pd.DataFrame(columns=["batched_ns", "inferred_ns", "batch_size"])
    batches = poses.groupby("batched_ns")
    differing = (batches["inferred_ns"].nunique() > 1) | (batches["batch_size"].nunique() > 1)
    too_many = batches.size() > batches["batch_size"].max()
    if wrong := int((differing | too_many).sum()):
        yield f"poses.csv: inferred_ns or batch_size of {wrong} batches disagree"
