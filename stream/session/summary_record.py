"""`summary.json`: the one definition, by which it is written and checked; docs/session-folder.md says it for people.

Keys that are not named here are kept and not used. A key that may be absent is `UNSET` then.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from posestream.stream.session.session_record import BackfillRecord
from posestream.stream.wire.checked import Count, Finite, Label, Text
from posestream.stream.wire.counters import CameraCounters, InferenceCounters, WindowCounters

__all__ = [
    "CameraSummary",
    "ClockSummary",
    "GapSummary",
    "PoseError",
    "PoseSummary",
    "RateSummary",
    "RecordedCounters",
    "SizeSummary",
    "SummaryRecord",
    "VideoSummary",
]

Percentiles = dict[str, Finite]
"""Milliseconds, by `p50`, `p90`, `p99` and `max`."""


class RateSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Frames a second."""

    asked: Finite | None
    """None where the camera sets its own pace."""
    measured: Finite | None
    """What the device exposed, lost frames included, gaps left out; none where it gave too few."""


class GapSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Times without frames because the camera was lost."""

    count: Count
    """How many."""
    ms: Count
    """Milliseconds in all."""


class SizeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A frame as published, pixels."""

    width: Count
    """Pixels."""
    height: Count
    """Pixels."""
    pixel_format: str
    """`gray8`, `rgb24` or `bgr24`."""


class VideoSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The video."""

    file: Text
    """From the session's folder."""
    bytes: Count
    """Its size."""
    compression: Finite | None
    """How many times smaller it is than the frames in it."""


class ClockSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The device's clock."""

    drift_ppm: Finite | None
    """Millionths by which it is fast; none where that is not known."""
    restarts: Count | None
    """Times that it jumped or began anew; none where that is not known."""
    residual_ms: Percentiles
    """By how much later frames arrived than their mapped time says; empty without frames."""


class PoseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The live poses."""

    recorded: Count
    """Rows of `poses.csv`."""
    skipped: dict[str, Count]
    """Frames without one, by `posestream.stream.disk.tables.SkipCause`."""
    unexplained: Count
    """Frames of which nobody wrote why they have none; 0 unless a process was killed."""


class PoseError(msgspec.Struct, frozen=True, kw_only=True):
    """How far poses of a simulated camera lie from where it drew the body parts."""

    poses: Count
    """How many were compared."""
    rmse_px: Finite
    """Over all body parts that both have and the frame shows, whatever their likelihood."""
    median_px: Finite
    """Over the same."""
    likelihood: Finite
    """Its mean."""
    parts: dict[str, Finite]
    """RMSE of each body part, pixels."""


class RecordedCounters(CameraCounters, frozen=True, kw_only=True):
    """What a camera's process counted, and the pose recorder of its poses."""

    poses_recorded: Count | UnsetType = UNSET
    """Rows of `poses.csv`; absent where no poses were recorded."""
    poses_lost: Count | UnsetType = UNSET
    """Poses that did not reach the pose recorder."""


class CameraSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A camera's part of the summary: of one on another machine `remote` and `counters` alone."""

    remote: Text | UnsetType = UNSET
    """Folder of its files, from where its process runs on that machine."""
    frames: dict[Label, Count] | UnsetType = UNSET
    """`captured`, and how many are in each `FrameState`."""
    pose_states: dict[Label, Count] | UnsetType = UNSET
    """How many frames are in each `PoseState`."""
    rate_hz: RateSummary | UnsetType = UNSET
    """Frames a second."""
    gaps: GapSummary | UnsetType = UNSET
    """Times without frames because the camera was lost."""
    notes: Count | UnsetType = UNSET
    """Rows of `frames.csv` with a note."""
    size: SizeSummary | UnsetType = UNSET
    """Of a frame."""
    video: VideoSummary | UnsetType = UNSET
    """Absent where it was not recorded."""
    clock: ClockSummary | UnsetType = UNSET
    """Absent where the device stamps no frames."""
    remarks: list[str] | UnsetType = UNSET
    """What a person should know and is no problem, a sentence each."""
    poses: PoseSummary | UnsetType = UNSET
    """Absent where no network ran, as all that follows."""
    latency_ms: dict[str, Percentiles] | UnsetType = UNSET
    """Milliseconds by stage: `exposure_to_sent`, `sent_to_received`, `waiting_for_batch`, `inference`, `publishing`,
    `published_to_subscriber`, and from the first to the last, `exposure_to_subscriber`."""
    batch_size: dict[str, Count] | UnsetType = UNSET
    """Poses by the size of the batch that they were inferred in."""
    pose_error: PoseError | UnsetType = UNSET
    """Of a simulated camera."""
    files: list[Text] | UnsetType = UNSET
    """DeepLabCut's files, from the session's folder."""
    counters: RecordedCounters | UnsetType | None = UNSET
    """None where nobody knows them any more, as after a kill."""
    window: WindowCounters | UnsetType = UNSET
    """Absent where the network saw whole frames."""


class SummaryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`summary.json`."""

    format: Literal[1] = 1
    """Version of this file."""
    session: Text | UnsetType = UNSET
    """Id of the session."""
    folder: str | UnsetType = UNSET
    """Where it was when it was closed."""
    ended: Text | None = None
    """What ended the run, as in `session.json`."""
    seconds: Finite | None = None
    """From the start to the last file; none where a killed run did not say."""
    exit_status: int | UnsetType = UNSET
    """0 as asked; 1 something failed or was lost."""
    problems: list[Text] = []
    """What went wrong, a sentence each."""
    cameras: dict[str, CameraSummary] = {}
    """By name."""
    inference: InferenceCounters | None = None
    """Last counters of inference; none where none ran, or nobody knows them any more."""
    events: dict[str, Count] | UnsetType = UNSET
    """How many events of each name are in `events.jsonl`."""
    malformed: dict[str, Count] | None = None
    """Messages that were dropped, by process."""
    refused: dict[str, Count] | None = None
    """Connections that were not let in, by process."""
    backfill: BackfillRecord | UnsetType = UNSET
    """As in `session.json`, and what went wrong in it."""
