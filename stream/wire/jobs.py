"""What the supervisor asks of each process: plain settings that travel, so that a process can live anywhere."""

from typing import Any, Literal

import msgspec

from posestream.stream.wire.messages import Name, StreamInfo

__all__ = [
    "BackfillJob",
    "CameraJob",
    "Flip",
    "InferenceJob",
    "Job",
    "MaskSettings",
    "OwnJob",
    "PoseRecorderJob",
    "RecordingSettings",
    "RegionSettings",
    "Rotation",
    "ViewSettings",
]

Flip = Literal["none", "horizontal", "vertical", "both"]
"""`horizontal` changes left and right, `vertical` top and bottom."""
Rotation = Literal[0, 90, 180, 270]
"""Degrees clockwise; after the flip, where there are both."""


class RecordingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a camera's frames are compressed and kept."""

    codec: str = "libx264"
    """Name of FFmpeg's encoder."""
    container: Literal["mp4", "mkv"] = "mp4"
    """Fragmented mp4 that becomes an ordinary one when it is closed, or Matroska; both survive a kill."""
    preset: str | None = "superfast"
    """The encoder's preset: faster means less work and larger files. None: the encoder's own."""
    crf: float | None = 23.0
    """Constant rate factor of the encoder: lower means better and larger. None: the encoder's own."""
    keyframe_interval_s: float = 1.0
    """Seconds between frames that can be decoded alone."""
    pixel_format: str = "auto"
    """FFmpeg's name of the recorded pixel format; `auto` keeps grey frames grey and takes yuv420p for colour."""
    threads: int = 1
    """Threads of the encoder."""
    options: dict[str, str] = {}
    """Further options of the encoder, as FFmpeg names them."""
    queue_bytes: int = 512 * 2**20
    """Bytes of raw frames that may wait for the encoder before frames are lost."""
    queue_s: float = 2.0
    """Seconds for which one of them may wait, by the encoder's pace too, before new frames are lost."""


class RegionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle that is cut out of what the camera delivers, in that frame's pixels, and how it is turned."""

    x: int
    """Its first column."""
    y: int
    """Its first row."""
    width: int
    height: int
    flip: Flip = "none"
    rotate: Rotation = 0


class MaskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What of the recorded frame is kept: the polygons, or where an image is not black."""

    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Corners (x, y) in pixels of the recorded frame; what lies in any of them is kept."""
    image: str | None = None
    """An image file of the recorded frame's size."""
    value: int = 0
    """What the pixels outside are set to, in each channel."""


class ViewSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the recorded frame is made of what the camera delivers: cut, turned, joined, turned as a whole, masked."""

    regions: tuple[RegionSettings, ...] = ()
    """In the order in which they are joined; none: the whole frame."""
    join: Literal["vertical", "horizontal"] = "vertical"
    """`vertical`: one below the other; `horizontal`: one beside the other."""
    flip: Flip = "none"
    rotate: Rotation = 0
    mask: MaskSettings | None = None


class CameraJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="job", tag="camera"):
    """One camera: what to open, where to publish, what to record."""

    session: str
    camera: Name
    backend: str
    options: dict[str, Any]
    """The backend's own settings."""
    rig_folder: str
    """Folder from which relative paths in the settings are taken; empty: where the process runs."""
    known_keys: tuple[str, ...] = ()
    """Keys that the rig understands beside the backend's, for messages."""
    endpoint: str
    """Where to publish frames; empty: an address of this machine alone."""
    folder: str
    """Folder to write to, made when the run starts; relative to where the process runs."""
    recording: RecordingSettings | None
    """None: publish only."""
    view: ViewSettings | None = None
    """None: what the camera delivers is recorded as it is."""
    min_free_bytes: int
    """Free space below which a run does not start."""
    stop_free_bytes: int = 512 * 2**20
    """Free space below which a run is ended, so that the files can be closed."""
    publish_queue_bytes: int = 64 * 2**20
    """Bytes of raw frames that may wait for one subscriber."""
    timeout_s: float = 5.0
    """Seconds without a frame after which the camera is said to be silent."""
    reconnect_s: float = 60.0
    """Seconds for which a camera that was lost is looked for; 0: the run ends at once."""
    credit: int = msgspec.field(default=16, name="window")
    """Frames that may be on their way through inference, for a camera that waits for it."""
    cpus: tuple[int, ...] = ()
    """Cores that the process is kept to; none: the system chooses."""


class FollowJob(msgspec.Struct, frozen=True, kw_only=True):
    """How windows follow an animal; see `posestream.inference.windows.following.FollowSettings`."""

    sides: tuple[int, ...]
    margin_px: int
    threshold: float
    check_every: int


class InferenceJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="job", tag="inference"):
    """The network to run, on which streams, and how frames are gathered into batches."""

    session: str
    model: str
    rig_folder: str
    """Folder from which a relative path of the model is taken; empty: where the process runs."""
    streams: tuple[StreamInfo, ...]
    endpoint: str
    """Where to publish poses."""
    mode: Literal["freshest", "every-frame"]
    batch_size: int
    wait_ms: float
    queue_bytes: int
    """Bytes of raw frames that may wait for the engine in `every-frame` before the oldest is skipped."""
    engine: str
    """Name of an engine, or auto."""
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"]
    threads: int | None
    cpus: tuple[int, ...] = ()
    """Cores that the process is kept to; none: the system chooses."""
    window: FollowJob | None = None
    """None: the network sees whole frames."""


class PoseRecorderJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="job", tag="poses"):
    """The pose stream to write down, and where."""

    session: str
    endpoint: str
    folders: dict[Name, str]
    """Folder of each camera, made when the run starts."""


class BackfillJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="job", tag="backfill"):
    """The session whose frames are to get the poses that live inference skipped."""

    folder: str
    """The session folder."""


class OwnJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="job", tag="own"):
    """The job of a role that has no kind of job here: its module alone understands the settings."""

    session: str
    settings: bytes
    """MessagePack of a struct of that module."""


Job = CameraJob | InferenceJob | PoseRecorderJob | BackfillJob | OwnJob
