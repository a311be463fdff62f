"""What processes say of themselves when they are armed; `session.json` keeps it under the same names."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from posestream.stream.wire.checked import Count, Finite, Label, NamePart, Sha256, Text

__all__ = ["CameraDetails", "Expected", "InferenceDetails", "MeasuredNetwork", "ModelDetails", "SourceDetails"]


class CameraDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a camera's process has opened; keys are absent where they say nothing."""

    camera: str = ""
    """What was opened, for people: model and serial number, or the file."""
    tick_ns: float | UnsetType | None = UNSET
    """Nanoseconds of a tick of the device's clock; none where it has none or does not say."""
    settings: dict[str, bool | int | float | str] = {}
    """What the device took, read back, in the words of the rig."""
    origin: tuple[int, int] | None = None
    """Column and row of the sensor at which the first pixel of the camera's frame begins; where it has `settings`."""
    binning: tuple[int, int] | None = None
    """Sensor columns and rows that one pixel stands for; where it has `settings`."""
    warnings: tuple[str, ...] = ()
    """What the device took otherwise than asked, a sentence each."""
    bits: int = 8
    """Bits of a value as the camera gives it; frames are published as 8 bits."""
    levels: tuple[int, int] | None = None
    """Values that become 0 and 255 where `bits` is above 8."""
    video: Literal["video.mp4", "video.mkv"] | None = None
    """Name of the video in the camera's folder; none where it is not recorded."""
    cpus: tuple[int, ...] | None = None
    """Cores that the process is kept to; none: the system chooses."""


class SourceDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the network came from, as far as it is known."""

    kind: Text = ""
    """Program and form, for example `deeplabcut-tensorflow`."""
    folder: str = ""
    """Name of the folder that was read, not its path."""
    snapshot: str = ""
    """Name of the snapshot."""
    iterations: int | None = None
    """Training iterations of the snapshot, as DeepLabCut's TensorFlow code counts."""
    epochs: int | None = None
    """Training epochs of the snapshot, as DeepLabCut 3 counts."""
    task: str = ""
    """DeepLabCut's `Task`."""
    date: str = ""
    """DeepLabCut's `date`, for example `Oct30`."""
    shuffle: int | None = None
    """DeepLabCut's `shuffle`."""
    training_fraction: Finite | None = None
    """Share of the labelled frames that the network was trained on, 0 to 1."""
    iteration: Count | None = None
    """DeepLabCut's `iteration`, the round of active learning."""


class ModelDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The network's specification, as `model.json` of a bundle has it (docs/bundle.md).

    Raises
    ------
    ValueError
        Body parts appear twice.
    """

    name: str | UnsetType = UNSET
    """Name of the network."""
    scorer: NamePart
    """DeepLabCut's name for it; part of the names of DeepLabCut's files."""
    bodyparts: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=10_000)]
    """Names of the body parts, in the order of the tables' columns."""
    skeleton: tuple[tuple[str, str], ...] | UnsetType = UNSET
    """Pairs of body parts to draw a line between."""
    net_type: Label
    """DeepLabCut's name for the kind of network."""
    stride: Finite
    """Pixels of the picture between neighbouring cells of the maps."""
    locref_stdev: Finite
    """Pixels that a location refinement of 1 stands for."""
    location_refinement: bool
    """Whether the network has a head for location refinement."""
    mean_pixel: tuple[Finite, Finite, Finite]
    """Subtracted from every pixel; red, green, blue; 0 to 255."""
    std_pixel: tuple[float, float, float] | UnsetType = UNSET
    """Every pixel is divided by it after that."""
    family: str | UnsetType = UNSET
    """Which family of networks it is of, as in a bundle."""
    norm: str | UnsetType = UNSET
    """What became of its normalisation, as in a bundle."""
    apply_sigmoid: bool | UnsetType = UNSET
    """Whether the likelihood is the sigmoid of what the head says, or that itself."""
    clip_scores: bool | UnsetType = UNSET
    """Whether the likelihood is clipped to 0 to 1."""
    source: SourceDetails = SourceDetails()
    """Where it came from."""

    def __post_init__(self) -> None:
        if len(set(self.bodyparts)) != len(self.bodyparts):
            raise ValueError("body parts appear twice")


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What one camera's frames cost."""

    frame_ms: float
    """Milliseconds of the network for a frame; where a window follows the animal, on average while it does."""
    whole_ms: float
    """Milliseconds of the network for a whole frame."""
    batch_size: int
    """Frames inferred together."""
    window: tuple[int, int] | None = None
    """Width and height of the largest window, pixels; none where the network sees whole frames."""


class MeasuredNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """A network as it runs on this machine."""

    name: str
    engine: str
    precision: str
    expected: dict[str, Expected]
    """By camera."""


class InferenceDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The network that inference has loaded, and how it runs it."""

    model: ModelDetails
    """The network's specification."""
    model_path: Text | None = None
    """Where it was read, on inference's machine."""
    model_sha256: Sha256 | UnsetType = UNSET
    """Digest of the bundle: `ModelBundle.digest`."""
    engine: Label | UnsetType = UNSET
    """As chosen where the rig says `auto`."""
    precision: Label | UnsetType = UNSET
    """As chosen where the rig says `auto`."""
    engine_reason: str | UnsetType = UNSET
    """Why these, for people."""
    warm_up_s: float | UnsetType = UNSET
    """Seconds that loading and warming up took."""
    expected: dict[str, Expected] | UnsetType = UNSET
    """By camera, as measured before the first frame."""
    cpus: tuple[int, ...] | None = None
    """Cores that the process is kept to; none: the system chooses."""
    threads: int | None = None
    """Threads of the engine, where `cpus` is given."""
