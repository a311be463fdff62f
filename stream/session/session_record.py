"""`session.json`: the one definition, by which it is written and checked; docs/session-folder.md says it for people.

Checked like a rig: names that become folders or files are names and nothing else, numbers are in their range. Keys that
are not named here are kept and not used. A key that may be absent is `UNSET` then.
"""

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from posestream.stream.rig import check_camera_name
from posestream.stream.wire.checked import Count, Label, Sha256, Text
from posestream.stream.wire.details import CameraDetails, InferenceDetails
from posestream.stream.wire.messages import StreamInfo

__all__ = [
    "BackfillRecord",
    "CameraRecord",
    "ClockAnchor",
    "InferenceRecord",
    "MachineRecord",
    "RigCamera",
    "RigInference",
    "RigRecord",
    "SessionRecord",
    "known",
]

Known = TypeVar("Known")
Nanoseconds = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


def known(value: Known | UnsetType, otherwise: Known) -> Known:
    """Give a value of a record, or another where its key is absent."""
    return otherwise if isinstance(value, UnsetType) else value


class RigCamera(msgspec.Struct, frozen=True, kw_only=True):
    """`[cameras.NAME]` of the rig as run; all its other keys are there, too."""

    remote: bool
    """Whether it runs on another machine, where its files are."""
    backend: str | UnsetType = UNSET
    """Which kind of camera it is."""


class RigInference(msgspec.Struct, frozen=True, kw_only=True):
    """`[inference]` of the rig as run; all its other keys are there, too."""

    batch_size: Annotated[int, Meta(ge=1, le=1024)]
    """The most frames that are inferred together."""
    model: Text = ""
    """The network as the rig names it: a path, or a network that comes with posestream."""
    mode: Label = "freshest"
    """`freshest` or `every-frame`."""
    engine: Label = "auto"
    """As asked for; what was taken stands in `inference`."""
    precision: Label = "auto"
    """As asked for; what was taken stands in `inference`."""
    remote: bool = False
    """Whether it runs on another machine."""


class RigRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The rig as run; all its other tables are there, too."""

    cameras: dict[str, RigCamera]
    """By name."""
    inference: RigInference | None
    """None where no network ran."""


class MachineRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The machine of the supervisor."""

    name: str
    """Its name in the network."""
    system: str
    """Operating system and version."""
    processor: str
    """The processor, as the system names it."""
    cores: int | None
    """Logical cores; none where the system does not say."""


class ClockAnchor(msgspec.Struct, frozen=True, kw_only=True):
    """One moment by two clocks: when the session began, and when it ended."""

    clock: str = ""
    """Name of the machine whose monotonic clock it is."""
    monotonic_ns: Nanoseconds
    """By the monotonic clock, nanoseconds; all `_ns` of this machine are of it but `wall_ns`."""
    wall_ns: Nanoseconds
    """By the wall clock, nanoseconds since 1970, UTC."""


class CameraRecord(CameraDetails, frozen=True, kw_only=True, omit_defaults=True):
    """What a camera's process said when it was armed."""

    stream: StreamInfo
    """What it publishes, and where."""


class InferenceRecord(InferenceDetails, frozen=True, kw_only=True, omit_defaults=True):
    """What inference said when it was armed."""

    poses: str | UnsetType | None = UNSET
    """Address at which poses were published."""


class BackfillRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a backfill said of itself."""

    state: Literal["running", "partial", "complete"]
    """`partial`: frames of the video are left without a pose."""
    model: str | UnsetType = UNSET
    """Name of the network."""
    model_path: Text | UnsetType | None = UNSET
    """Where it was read."""
    model_sha256: Sha256 | UnsetType = UNSET
    """Digest of its bundle."""
    engine: str | UnsetType = UNSET
    """Engine that ran it."""
    precision: str | UnsetType = UNSET
    """Precision in which it ran."""
    without_pose: Count | UnsetType = UNSET
    """Frames of the videos that have no pose; absent while it runs."""
    problems: list[str] | UnsetType = UNSET
    """What went wrong, a sentence each; in `summary.json` alone."""


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`session.json`.

    Raises
    ------
    ValueError
        A camera has a name that a rig's can't have, or is not in the rig, or inference is in one place alone.
    """

    format: Literal[1]
    """Version of the session's folder as a whole."""
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,80}(?![\s\S])")]
    """The same in every message of the run."""
    state: Literal["recording", "complete", "recovered"]
    """`recording`: it runs, or was cut off; `recovered`: closed by `posestream recover`."""
    rig: RigRecord
    """The rig as run, with all defaults filled in."""
    versions: dict[str, str] | UnsetType = UNSET
    """Of Python and of the packages that matter."""
    machine: MachineRecord | UnsetType = UNSET
    """That of the supervisor."""
    clock_anchors: list[ClockAnchor] | UnsetType = UNSET
    """Two: when the session began, and when it ended; the first alone where it was cut off."""
    manifest: int | UnsetType | None = UNSET
    """Format of the `manifest.json` that closing it writes; absent in older sessions, which have none."""
    cameras: Annotated[dict[str, CameraRecord], Meta(min_length=1, max_length=1_000)]
    """By name; what each camera's process said when it was armed."""
    inference: InferenceRecord | None
    """None where no network ran."""
    ended: Text | UnsetType | None = UNSET
    """What ended the run: `seconds`, `cameras ended`, `failure`, `interrupted`, `cut off`, or what a program gave."""
    problems: list[Text] | UnsetType = UNSET
    """What went wrong, a sentence each."""
    backfill: BackfillRecord | UnsetType = UNSET
    """The last backfill; absent where there was none."""
    recovery: list[str] | UnsetType = UNSET
    """What `posestream recover` did, a sentence each."""

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

    @property
    def backfill_was_cut_off(self) -> bool:
        """Whether a backfill of this session is under way, or was killed on its way."""
        return isinstance(self.backfill, BackfillRecord) and self.backfill.state == "running"

    @property
    def here(self) -> list[str]:
        """Cameras whose files are in this folder."""
        return [name for name in self.cameras if not self.rig.cameras[name].remote]

    @property
    def bodyparts(self) -> tuple[str, ...] | None:
        """Of its network; None where none ran."""
        return self.inference.model.bodyparts if self.inference is not None else None

    @property
    def batch_size(self) -> int:
        """Frames that its rig lets be inferred together; 1 where no network ran."""
        return self.rig.inference.batch_size if self.rig.inference is not None else 1

    @property
    def is_every_frame(self) -> bool:
        """Whether every frame was to get a live pose."""
        return self.rig.inference is not None and self.rig.inference.mode == "every-frame"

    @property
    def engine(self) -> str:
        """Name of the engine; empty where no network ran, or an old session does not say."""
        return known(self.inference.engine, "") if self.inference is not None else ""
