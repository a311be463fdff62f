"""What `session.json` and `summary.json` must hold for a program to work with them, whoever wrote them.

Checked like a rig: names that become folders or files are names and nothing else, numbers are in their range. Keys that
are not named here are kept and not used.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from posestream.stream.rig import check_camera_name
from posestream.stream.wire.messages import StreamInfo

__all__ = ["SessionRecord", "SummaryRecord"]

PLAIN = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z"
"""Nothing that would move a terminal's cursor, or that can't be written as UTF-8."""

Text = Annotated[str, Meta(max_length=5_000, pattern=PLAIN)]
Label = Annotated[str, Meta(min_length=1, max_length=500, pattern=PLAIN)]
NamePart = Annotated[
    str, Meta(min_length=1, max_length=500, pattern=r'^[^\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"/\\|?*]+\Z')
]
"""Part of the name of a file, on every system."""
Count = Annotated[int, Meta(ge=0, le=2**62)]
Finite = Annotated[float, Meta(gt=-1e15, lt=1e15)]


class SourceRecord(msgspec.Struct, frozen=True):
    """Where the network came from, as far as DeepLabCut's metadata has a place for it."""

    kind: Text = ""
    iteration: Count | None = None
    training_fraction: Finite | None = None


class ModelRecord(msgspec.Struct, frozen=True):
    """The network's specification."""

    scorer: NamePart
    """Part of the names of DeepLabCut's files."""
    bodyparts: Annotated[list[Label], Meta(min_length=1, max_length=10_000)]
    net_type: Label
    stride: Finite
    locref_stdev: Finite
    location_refinement: bool
    mean_pixel: tuple[Finite, Finite, Finite]
    source: SourceRecord = SourceRecord()

    def __post_init__(self) -> None:
        if len(set(self.bodyparts)) != len(self.bodyparts):
            raise ValueError("body parts appear twice")


class InferenceRecord(msgspec.Struct, frozen=True):
    """What inference said when it was armed."""

    model: ModelRecord
    model_path: Text | None = None
    model_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | UnsetType = UNSET
    engine: Label = "auto"
    precision: Label = "auto"


class CameraRecord(msgspec.Struct, frozen=True):
    """What a camera's process said when it was armed."""

    stream: StreamInfo
    video: Literal["video.mp4", "video.mkv"] | None = None


class RigCamera(msgspec.Struct, frozen=True):
    """`[cameras.NAME]` of the rig as run."""

    remote: bool


class RigInference(msgspec.Struct, frozen=True):
    """`[inference]` of the rig as run."""

    batch_size: Annotated[int, Meta(ge=1, le=1024)]
    model: Text = ""
    mode: Label = "freshest"
    engine: Label = "auto"
    precision: Label = "auto"


class RigRecord(msgspec.Struct, frozen=True):
    """The rig as run."""

    cameras: dict[str, RigCamera]
    inference: RigInference | None


class BackfillRecord(msgspec.Struct, frozen=True):
    """What a backfill said of itself."""

    state: Literal["running", "partial", "complete"]


class SessionRecord(msgspec.Struct, frozen=True):
    """`session.json`.

    Raises
    ------
    ValueError
        A camera has a name that a rig's can't have, or is not in the rig, or inference is in one place alone.
    """

    format: Literal[1]
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,80}\Z")]
    state: Literal["recording", "complete", "recovered"]
    rig: RigRecord
    cameras: Annotated[dict[str, CameraRecord], Meta(min_length=1, max_length=1_000)]
    inference: InferenceRecord | None
    backfill: BackfillRecord | UnsetType = UNSET
    ended: Text | None = None
    problems: list[Text] = []

    def __post_init__(self) -> None:
        for name in self.cameras:
            try:
                check_camera_name(name)
            except ValueError as error:
                raise ValueError(f"{name[:100]!a} can't be the name of a camera: {error}") from error
            if name not in self.rig.cameras:
                raise ValueError(f"the camera {name} is not in its rig")
        if self.inference is not None and self.rig.inference is None:
            raise ValueError("it has a network, and its rig has none")


class Counters(msgspec.Struct, frozen=True):
    """What a camera's process counted; all of it may be missing."""

    captured: Count = 0
    poses_lost: Count = 0
    disconnects: Count = 0
    gap_ms: Finite = 0
    rate_asked_hz: Finite | None = None
    clock_drift_ppm: Finite | None = None
    clock_restarts: Count | None = None


class CameraSummary(msgspec.Struct, frozen=True):
    """A camera's part of the summary."""

    frames: dict[Label, Count] = {}
    pose_states: dict[Label, Count] = {}
    counters: Counters | None = None
    files: list[Text] = []


class SummaryRecord(msgspec.Struct, frozen=True):
    """`summary.json`."""

    cameras: dict[str, CameraSummary] = {}
    ended: Text | None = None
    problems: list[Text] = []
    backfill: dict[str, Any] | UnsetType = UNSET
