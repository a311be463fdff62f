"""What a rig asks of its processes: the jobs that the supervisor hands out, and that `doctor` tries."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from posestream.stream.rig import RecordingTable, Rig
from posestream.stream.wire.jobs import CameraJob, InferenceJob
from posestream.stream.wire.messages import StreamInfo
from posestream.stream.wire.settings import InferenceSettings, RecordingSettings, VideoSettings

__all__ = ["camera_job", "inference_job", "recording_settings"]

CREDIT_BATCHES = 3
"""How many batches a camera that waits for inference may be ahead: one in the engine, one after it, one on its way."""


def camera_job(rig: Rig, name: str, rig_folder: Path, session: str, folder: str) -> CameraJob:
    """Make the job of a camera.

    Parameters
    ----------
    rig
        The rig.
    name
        The camera's name.
    rig_folder
        Folder from which its relative paths are taken.
    session
        The session's id.
    folder
        Folder that the camera's process writes to.
    """
    table, recording = rig.cameras[name], rig.recording_of(name)
    return CameraJob(
        session=session,
        camera=name,
        backend=table.backend,
        options=table.options,
        rig_folder="" if table.remote else str(rig_folder),
        known_keys=tuple(type(table).model_fields),
        endpoint=table.endpoint or "",
        folder=folder,
        recording=recording_settings(recording) if recording.enabled else None,
        view=table.view,
        min_free_bytes=round(rig.session.min_free_gib * 2**30),
        stop_free_bytes=round(rig.session.stop_free_gib * 2**30),
        publish_queue_bytes=table.publish_queue_mib * 2**20,
        timeout_s=table.timeout_s,
        reconnect_s=table.reconnect_s,
        cpus=None if table.cpus is None else tuple(table.cpus),
        credit=CREDIT_BATCHES * (rig.inference.batch_size if rig.inference is not None else 1),
    )


def inference_job(rig: Rig, rig_folder: Path, session: str, streams: Iterable[StreamInfo]) -> InferenceJob:
    """Make the job of inference, which the rig must have; parameters as for `camera_job`, and what cameras publish."""
    table = rig.inference
    if table is None:
        raise ValueError("the rig has no inference")
    return InferenceJob(
        session=session,
        model=table.model,
        rig_folder="" if table.remote else str(rig_folder),
        streams=tuple(streams),
        endpoint=rig.network.poses,
        queue_bytes=table.queue_mib * 2**20,
        **_shared(table, InferenceSettings),
    )


def recording_settings(table: RecordingTable) -> RecordingSettings:
    """Give what a camera's process is told of a recording."""
    return RecordingSettings(queue_bytes=table.queue_mib * 2**20, **_shared(table, VideoSettings))


def _shared(table: msgspec.Struct, base: type[msgspec.Struct]) -> dict[str, Any]:
    """Give the fields that a table has in common with a job."""
    return {name: getattr(table, name) for name in base.__struct_fields__}
