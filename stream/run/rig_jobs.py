"""What a rig asks of its processes: the jobs that the supervisor hands out, and that `doctor` tries."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from posestream.stream.rig import Rig
from posestream.stream.wire.jobs import CameraJob, FollowJob, InferenceJob, RecordingSettings, ViewSettings
from posestream.stream.wire.messages import StreamInfo

__all__ = ["camera_job", "inference_job"]

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
    settings = recording.model_dump(exclude={"enabled", "queue_mib"}) | {"queue_bytes": recording.queue_mib * 2**20}
    return CameraJob(
        session=session,
        camera=name,
        backend=table.backend,
        options=table.options,
        rig_folder="" if table.remote else str(rig_folder),
        known_keys=tuple(type(table).model_fields),
        endpoint=table.endpoint or "",
        folder=folder,
        recording=RecordingSettings(**settings) if recording.enabled else None,
        view=msgspec.convert(table.view.model_dump(), ViewSettings) if table.view is not None else None,
        min_free_bytes=round(rig.session.min_free_gib * 2**30),
        stop_free_bytes=round(rig.session.stop_free_gib * 2**30),
        publish_queue_bytes=table.publish_queue_mib * 2**20,
        timeout_s=table.timeout_s,
        reconnect_s=table.reconnect_s,
        cpus=tuple(table.cpus or ()),
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
        mode=table.mode,
        batch_size=table.batch_size,
        wait_ms=table.wait_ms,
        queue_bytes=table.queue_mib * 2**20,
        engine=table.engine,
        precision=table.precision,
        threads=table.threads,
        cpus=tuple(table.cpus or ()),
        window=msgspec.convert(table.window.model_dump(), FollowJob) if table.window is not None else None,
    )
