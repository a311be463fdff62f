"""What the supervisor asks of each process: plain settings that travel, so that a process can live anywhere."""

from typing import Any

import msgspec

from posestream.stream.wire.messages import Name, StreamInfo
from posestream.stream.wire.settings import Cores, InferenceSettings, RecordingSettings, ViewSettings

__all__ = ["BackfillJob", "CameraJob", "InferenceJob", "Job", "OwnJob", "PoseRecorderJob"]


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
    stop_free_bytes: int
    """Free space below which a run is ended, so that the files can be closed."""
    publish_queue_bytes: int
    """Bytes of raw frames that may wait for one subscriber."""
    timeout_s: float
    """Seconds without a frame after which the camera is said to be silent."""
    reconnect_s: float
    """Seconds for which a camera that was lost is looked for; 0: the run ends at once."""
    credit: int = msgspec.field(name="window")
    """Frames that may be on their way through inference, for a camera that waits for it."""
    cpus: Cores | None = None
    """Cores that the process is kept to; none: the system chooses."""


class InferenceJob(InferenceSettings, frozen=True, kw_only=True, tag_field="job", tag="inference"):
    """The network to run, on which streams, and how frames are gathered into batches."""

    session: str
    model: str
    rig_folder: str
    """Folder from which a relative path of the model is taken; empty: where the process runs."""
    streams: tuple[StreamInfo, ...]
    endpoint: str
    """Where to publish poses."""
    queue_bytes: int
    """Bytes of raw frames that may wait for the engine in `every-frame` before the oldest is skipped."""


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
