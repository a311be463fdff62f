"""What a lab sets of recording, views, crop windows and inference: as it stands in the rig file, and as it travels.

Each setting is defined here once, with its default and what it may be. The rig file's tables are checked by these
(`posestream.stream.tables`), and jobs carry them (`posestream.stream.wire.jobs`).
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from posestream.stream.wire.choices import Container, Flip, Join, Mode, Precision, PrecisionChoice, Rotation

__all__ = [
    "MAX_PATCHES",
    "Container",
    "Cores",
    "CropWindowSettings",
    "Flip",
    "InferenceSettings",
    "Join",
    "MaskSettings",
    "Mode",
    "Precision",
    "PrecisionChoice",
    "RecordingSettings",
    "RegionSettings",
    "Rotation",
    "VideoSettings",
    "ViewSettings",
]

Cores = Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)]
"""Numbers of processor cores."""
MAX_PATCHES = 16
"""Parts of a frame that lie on the sensor each in its own way."""
SIDE_STEP_PX, LEAST_SIDE_PX = 32, 64


class VideoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a camera's frames are compressed and kept."""

    codec: str = "libx264"
    """FFmpeg's name of an encoder: libx264, h264_nvenc, h264_qsv, h264_videotoolbox ..."""
    container: Container = "mp4"
    """Fragmented mp4 that becomes an ordinary one when it is closed, or Matroska; both survive a kill."""
    preset: str | None = "superfast"
    """The encoder's preset: faster means less work and larger files. None: the encoder's own."""
    crf: Annotated[float, Meta(ge=0, le=63)] | None = 23.0
    """Constant rate factor of the encoder: lower means better and larger. None: the encoder's own."""
    keyframe_interval_s: Annotated[float, Meta(gt=0, le=60)] = 1.0
    """Seconds between frames that can be decoded alone."""
    pixel_format: str = "auto"
    """FFmpeg's name of the recorded pixel format; `auto` keeps grey frames grey and takes yuv420p for colour."""
    threads: Annotated[int, Meta(ge=0, le=64)] = 1
    """Threads of the encoder."""
    options: dict[str, str] = {}
    """Further options of the encoder, as FFmpeg names them."""
    queue_s: Annotated[float, Meta(gt=0, le=3600)] = 2.0
    """Seconds for which a frame may wait for the encoder, by the encoder's pace too, before new frames are lost to the
    video. More rides out a longer stall of encoder or disk; less is what a kill costs, for frames that wait are lost
    with the process."""


class RecordingSettings(VideoSettings, frozen=True, kw_only=True):
    """What a camera's process is told of its recording."""

    queue_bytes: int = 512 * 2**20
    """Bytes of raw frames that may wait for the encoder before frames are lost."""


class RegionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle that is cut out of what the camera delivers, in that frame's pixels, and how it is turned."""

    x: Annotated[int, Meta(ge=0)] = 0
    """Its first column."""
    y: Annotated[int, Meta(ge=0)] = 0
    """Its first row."""
    width: Annotated[int, Meta(ge=1)]
    height: Annotated[int, Meta(ge=1)]
    flip: Flip = "none"
    rotate: Rotation = 0


Corner = tuple[Annotated[float, Meta(ge=-65_535, le=65_535)], Annotated[float, Meta(ge=-65_535, le=65_535)]]


class MaskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What of the recorded frame is kept: the polygons, or where an image is not black.

    Raises
    ------
    ValueError
        There are both, or neither.
    """

    polygons: tuple[Annotated[tuple[Corner, ...], Meta(min_length=3)], ...] = ()
    """Corners (x, y) in pixels of the recorded frame; what lies in any of them is kept."""
    image: str | None = None
    """An image file of the recorded frame's size, black where nothing is kept; relative to the rig file's folder."""
    value: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """What the pixels outside are set to, as the camera counts: up to 255, or more where its pixels are deeper."""

    def __post_init__(self) -> None:
        if bool(self.polygons) == (self.image is not None):
            raise ValueError("a mask has either polygons or an image")


class ViewSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the recorded frame is made of what the camera delivers: cut, turned, joined, turned as a whole, masked."""

    regions: Annotated[tuple[RegionSettings, ...], Meta(max_length=MAX_PATCHES)] = ()
    """What is cut out, in the order in which it is joined; none: the whole frame."""
    join: Join = "vertical"
    """`vertical`: one below the other; `horizontal`: one beside the other."""
    flip: Flip = "none"
    """As for a region, of the joined frame."""
    rotate: Rotation = 0
    """As for a region, of the joined frame."""
    mask: MaskSettings | None = None
    """What of it is kept."""


class CropWindowSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a crop window follows one animal, so that the network need not see the whole frame.

    Raises
    ------
    ValueError
        A side is no multiple of 32, or no room is left within the margin; the text is for people.
    """

    sides: Annotated[
        tuple[Annotated[int, Meta(ge=LEAST_SIDE_PX, le=8192, multiple_of=SIDE_STEP_PX)], ...],
        Meta(min_length=1, max_length=8),
    ] = (256,)
    """Sides of windows, pixels of what the network sees; the smallest that the animal fits into is taken. They are less
    by up to 15 pixels where the frame's sides are no multiples of 16."""
    margin_px: Annotated[int, Meta(ge=0)] = 64
    """Minimum distance in pixels of confident body parts from those edges of the window that are not the frame's;
    closer, and the network runs on the whole frame."""
    threshold: Annotated[float, Meta(gt=0, le=1)] = 0.6
    """Likelihood from which a body part is confident."""
    check_every: Annotated[int, Meta(ge=1)] = 100
    """The network runs on the whole frame every so many poses, in case the window has lost the animal."""

    def __post_init__(self) -> None:
        for side in self.sides:
            if side % SIDE_STEP_PX or side < LEAST_SIDE_PX:
                may_be = f"a multiple of {SIDE_STEP_PX} pixels and at least {LEAST_SIDE_PX}"
                raise ValueError(f"the side of a window is {may_be}, not {side}")
        if min(self.sides) <= 2 * self.margin_px:
            raise ValueError(
                f"a window of {min(self.sides)} pixels has no room within a margin_px of {self.margin_px}; "
                f"the margin is less than half of the smallest of sides"
            )


class InferenceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How frames are gathered into batches, and how the network is run."""

    mode: Mode = "freshest"
    """freshest: the newest frame of each camera, the rest skipped and counted. every-frame: all, in order."""
    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 8
    """Frames of a full batch."""
    wait_ms: Annotated[float, Meta(ge=0, le=10_000)] = 2.0
    """Milliseconds that the oldest frame of a batch waits for others while the engine is busy."""
    engine: str = "auto"
    """What runs the network: `tensorflow`, `openvino`, or a plugin's name; `auto`: what suits the machine."""
    precision: PrecisionChoice = "auto"
    """Numbers that the network computes with; `auto`: bfloat16 where that is faster here, else float32."""
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Threads of the network; none: as many as `cpus` has, or else the engine's own choice."""
    cpus: Cores | None = None
    """Cores that inference is kept to (Linux and Windows); none: the system chooses."""
    window: CropWindowSettings | None = None
    """How a crop window follows the animal; none: the network sees whole frames."""
