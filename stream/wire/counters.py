"""What each kind of process counts and reads: a struct for each, sent to the supervisor twice a second.

They travel as msgpack; the supervisor knows which struct a process sends from its row in the table of roles. What is
here of a camera and of inference stands in `summary.json`, too, under the same names.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from posestream.stream.wire.checked import Count, Finite

__all__ = [
    "BackfillCounters",
    "CameraCounters",
    "InferenceCounters",
    "PoseRecorderCounters",
    "PoseRows",
    "ProcessCounters",
    "StreamCounters",
    "WindowCounters",
    "WorkProgress",
]

Flag = Annotated[int, Meta(ge=0, le=1)]


class ProcessCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What every process counts; a role with more to tell has a struct of its own that adds to these."""

    malformed: Count = 0
    """Messages dropped because the protocol does not allow them."""
    malformed_control: Count = 0
    """Messages of the control connection dropped because they were no commands."""
    refused: Count = 0
    """Connections that were not let in, for they had no key that is known here."""

    @property
    def dropped(self) -> int:
        """Messages dropped, for whatever reason."""
        return self.malformed + self.malformed_control


class CameraCounters(ProcessCounters, frozen=True, kw_only=True):
    """Counters and readings of a camera's process."""

    started: Flag = 0
    """1 from when on the camera delivers, or waits for triggers."""
    captured: Count = 0
    """Frames that the camera delivered."""
    lost_camera: Count = 0
    """Frames that the device numbered and did not deliver."""
    lost_queue: Count = 0
    """Frames for which the encoder's queue had no room or no time."""
    silences: Count = 0
    """Times that the camera fell silent."""
    disconnects: Count = 0
    """Times that the camera was lost."""
    gap_ms: Finite = 0
    """Milliseconds without frames because of that."""
    events_dropped: Count = 0
    """Events that the supervisor did not take in time."""
    published: Count = 0
    """Messages handed to the socket."""
    unsent: Count = 0
    """Messages that some reader's queue had no room for."""
    rate_hz: Finite | None = None
    """Frames a second that the device exposed, lost ones included; none before the second frame."""
    rate_asked_hz: Finite | None = None
    """Frames a second that the device was asked for; none where it sets its own pace."""
    clock_drift_ppm: Finite | None = None
    """Millionths by which the device's clock is fast; none where it has none, or that is not known yet."""
    clock_restarts: Count | None = None
    """Times that the device's clock jumped or began anew; none where it has none."""
    free_bytes: Count | None = None
    """Free space where it writes; none before it was looked at."""
    rows_delivered: Count = 0
    """Frames in the table that wait for the encoder or are in it."""
    rows_recorded: Count = 0
    """Frames that are in the video."""
    rows_lost_camera: Count = msgspec.field(default=0, name="rows_lost-camera")
    """Frames that the device numbered and has not delivered."""
    rows_lost_queue: Count = msgspec.field(default=0, name="rows_lost-queue")
    """Frames for which the encoder's queue had no room or no time."""
    rows_encoder_error: Count = msgspec.field(default=0, name="rows_encoder-error")
    """Frames that the encoder or the disk refused."""
    rows_not_recorded: Count = msgspec.field(default=0, name="rows_not-recorded")
    """Frames of a camera that runs without recording."""
    waiting: Count = 0
    """Frames that wait for the encoder now."""
    waiting_ms: Count = 0
    """Milliseconds for which the oldest of them waits."""
    merged: Count = 0
    """Rows of the frame table that are done with while it is closed."""
    longest_queue: Count = 0
    """The most frames that ever waited for the encoder."""
    longest_queue_bytes: Count = 0
    """The most bytes of raw frames that ever waited."""
    unwritten: Count = 0
    """Frames that have no row, because the recording had been given up."""
    video_bytes: Count = 0
    """Size of the video file."""

    @property
    def losses(self) -> dict[str, int]:
        """Frames that are not in the video, by `posestream.stream.disk.tables.FrameState`; none of those without."""
        lost = {
            "lost-camera": self.lost_camera,
            "lost-queue": self.lost_queue,
            "encoder-error": self.rows_encoder_error,
        }
        return {state: number for state, number in lost.items() if number}


class WindowCounters(msgspec.Struct, frozen=True, kw_only=True):
    """How often a window that follows an animal was enough."""

    windows: Count = 0
    """Frames whose pose comes from a window."""
    whole: Count = 0
    """Frames that were run whole."""
    checks: Count = 0
    """Those of them that a window had answered in a way that would have been trusted."""
    disagreed: Count = 0
    """Checks in which a confident body part of the whole frame was elsewhere in the window by more than a pixel."""


class StreamCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What inference counts of one camera."""

    received: Count = 0
    """Frames that arrived."""
    poses: Count = 0
    """Poses that were published."""
    skipped: dict[str, Count] = {}
    """Frames that got no pose, by `posestream.stream.disk.tables.SkipCause`."""
    window: WindowCounters | None = None
    """None where the network sees whole frames."""


class InferenceCounters(ProcessCounters, frozen=True, kw_only=True):
    """Counters and readings of inference."""

    waiting: Count = 0
    """Frames that wait for the engine now."""
    unsent: Count = 0
    """Messages that some reader's queue had no room for."""
    foreign: Count = 0
    """Messages dropped because they were of another session, or not of the announced stream."""
    frames_in_batches: Count = 0
    """Frames that were inferred."""
    batches_full: Count = 0
    """Batches closed because they were full."""
    batches_wait: Count = 0
    """Batches closed because their oldest frame had waited long enough."""
    batches_idle: Count = 0
    """Batches closed because the engine was idle."""
    age_p50_ms: Finite | None = None
    """Median of the last poses' age, exposure to publication, milliseconds; none before the first."""
    age_p99_ms: Finite | None = None
    """Its 99th percentile."""
    cameras: dict[str, StreamCounters] = {}
    """By camera."""

    @property
    def dropped(self) -> int:
        """Messages dropped, for whatever reason."""
        return self.malformed + self.malformed_control + self.foreign


class PoseRows(msgspec.Struct, frozen=True, kw_only=True):
    """What the pose recorder counts of one camera."""

    poses_recorded: Count = 0
    """Rows of `poses.csv`."""
    poses_lost: Count = 0
    """Poses that did not reach it, by the numbers of those that did."""


class PoseRecorderCounters(ProcessCounters, frozen=True, kw_only=True):
    """Counters of the pose recorder."""

    cameras: dict[str, PoseRows] = {}


class WorkProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far work on the frames of a camera or a video is, or the reading of files."""

    done: Count
    total: Count
    """0: nobody knows."""
    per_second: float
    """Of what is done in this call."""
    left_s: float | None
    """Seconds left; none while nobody knows."""
    unit: str = "frames"


class BackfillCounters(ProcessCounters, frozen=True, kw_only=True):
    """Progress of a backfill."""

    cameras: dict[str, WorkProgress] = {}
