"""The camera process: camera, recorder, frame table and frame publisher of one camera.

The capture thread reads, the recorder thread encodes, and the main thread talks to the supervisor.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from shutil import disk_usage
from typing import Any, Literal

import cv2
import msgspec
import zmq

from posestream.acquisition.camera import Camera, CameraError, CameraFormat, create_camera
from posestream.acquisition.capture import CaptureThread
from posestream.acquisition.encoder import EncoderError, VideoWriter
from posestream.acquisition.guarded import GuardedCamera, backend_guard
from posestream.acquisition.pace import InferencePacing
from posestream.acquisition.recorder import Recorder
from posestream.acquisition.space import DiskFullError, SpaceWatch
from posestream.acquisition.view import ViewedCamera
from posestream.stream.disk.durable import sync_folder
from posestream.stream.disk.tables import FrameState
from posestream.stream.disk.writer_locks import HeldFile, InUseError, writer_lock
from posestream.stream.wire.control import Armed, Start
from posestream.stream.wire.counters import CameraCounters
from posestream.stream.wire.details import CameraDetails
from posestream.stream.wire.endpoints import EndpointError, local_endpoint
from posestream.stream.wire.errors import UserError
from posestream.stream.wire.jobs import CameraJob, Job
from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import Event, StreamInfo
from posestream.stream.wire.plugins import Guard
from posestream.stream.wire.priority import CpusError, set_cpus, set_priority
from posestream.stream.wire.process import parse_arguments, serve
from posestream.stream.wire.settings import RecordingSettings
from posestream.stream.wire.sockets import Publisher

__all__ = ["CameraRole", "main", "make_camera", "stream_info"]

SYNC_S = 1.0


class RecordingError(UserError):
    """The recording can't go on; the text is for people."""


class DiskError(UserError):
    """There is not the space to write; the text is for people."""


class CameraRole:
    """One camera: see `posestream.stream.wire.process.Role`."""

    usage_errors: tuple[type[Exception], ...] = (CameraError, EncoderError, EndpointError, DiskError, CpusError)
    failures: tuple[type[Exception], ...] = (CameraError, RecordingError, DiskFullError)

    def __init__(self) -> None:
        self._job: CameraJob | None = None
        self._camera: Camera | None = None
        self._format: CameraFormat | None = None
        self._publisher: Publisher | None = None
        self._capture: CaptureThread | None = None
        self._recorder: Recorder | None = None
        self._keys: Keys | None = None
        self._space: SpaceWatch | None = None
        self._lock: HeldFile | None = None
        self._synced = 0.0

    def arm(self, job: Job, keys: Keys | None) -> Armed:
        """Open the camera, try the encoder and the disk, bind the publisher, and begin to greet subscribers."""
        if not isinstance(job, CameraJob):
            raise TypeError(f"a camera process was given a {type(job).__name__}")
        set_priority("camera")
        cpus = set_cpus(job.cpus) if job.cpus else None
        cv2.setNumThreads(1)  # its work is small here, and a pool of threads would wait for cores that the network has
        self._job = job
        self._keys = keys
        guard = backend_guard(job.backend)
        self._camera = make_camera(job, guard)
        camera_format = self._format = self._camera.open()
        if job.recording is not None:
            VideoWriter(None, job.recording, camera_format)
            _check_space(Path(job.folder), job.min_free_bytes, job.stop_free_bytes)
        info = stream_info(job.camera, camera_format)
        self._publisher = Publisher(
            zmq.Context.instance(),
            job.endpoint or local_endpoint(job.camera),
            queue_bytes=job.publish_queue_bytes,
            message_bytes=info.frame_bytes,
            keys=self._keys,
        )
        info = msgspec.structs.replace(info, endpoint=self._publisher.endpoint)
        self._capture = CaptureThread(
            self._camera, camera_format, self._publisher, info, job.session, job.timeout_s, job.reconnect_s, guard
        )
        return Armed(stream=info, camera=_details(camera_format, job, cpus))

    def start(self, start: Start) -> None:
        """Make the files and let the camera run."""
        job, capture, camera_format = self._job, self._capture, self._format
        if job is None or capture is None or camera_format is None:
            raise RuntimeError("started before it was armed")
        folder, pacing = Path(job.folder), None
        if camera_format.waits_for_inference:
            if start.poses is None:
                raise CameraError(f"camera {job.camera} waits for inference, and none runs")
            context: zmq.Context[Any] = zmq.Context.instance()
            pacing = InferencePacing(context, start.poses, job.session, job.camera, job.credit, self._keys)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = writer_lock(folder.parent, f"camera:{job.camera}")
            self._recorder = Recorder(folder, job.recording, camera_format)
            for place in (folder, folder.parent):
                sync_folder(place)
        except (OSError, InUseError, EncoderError) as error:
            raise RecordingError(f"camera {job.camera} can't record: {error}") from error
        self._space = SpaceWatch(folder, job.stop_free_bytes)
        for warning in camera_format.warnings:
            capture.warn("settings", f"{self._name}: {warning}")
        capture.begin(self._recorder, pacing)

    def done(self) -> bool:
        """Whether the camera has no more frames; raises what ended it early."""
        capture, recorder = self._capture, self._recorder
        if capture is None or recorder is None:
            return False
        if capture.error is not None:
            raise capture.error
        self._check(recorder)
        capture.look()
        now = time.monotonic()
        try:
            if now - self._synced > SYNC_S:
                self._synced = now
                recorder.sync()
            warning = self._space.look(now, recorder.owed_bytes) if self._space is not None else ""
        except OSError as error:
            raise RecordingError(f"{self._name}: the disk can't be written: {error.strerror}") from error
        if warning:
            capture.warn("space", f"{self._name}: {warning}")
        return capture.ended

    def _check(self, recorder: Recorder) -> None:
        if recorder.error is not None:
            raise RecordingError(f"{self._name}: {recorder.error}")

    @property
    def _name(self) -> str:
        return f"camera {self._job.camera if self._job else '?'}"

    def events(self) -> list[Event]:
        """Take what happened since the last call."""
        if self._capture is None:
            return []
        return [self._capture.events.popleft() for _ in range(len(self._capture.events))]

    def counters(self) -> CameraCounters | None:
        """Give the counters of the camera."""
        capture, publisher, camera_format = self._capture, self._publisher, self._format
        if capture is None or publisher is None or camera_format is None:
            return None
        stamps, space = capture.stamps, self._space
        rate_hz, drift_ppm = stamps.rate_hz, stamps.drift_ppm if stamps.has_clock else None
        counters = CameraCounters(
            started=int(capture.started),
            captured=capture.captured,
            lost_camera=capture.lost_camera,
            lost_queue=capture.lost_queue,
            silences=capture.silences,
            disconnects=capture.disconnects,
            gap_ms=capture.gap_ns // 1_000_000,
            events_dropped=capture.events_dropped,
            published=publisher.sent,
            unsent=publisher.unsent,
            malformed=publisher.malformed + capture.malformed,
            refused=publisher.refused,
            rate_hz=round(rate_hz, 3) if rate_hz is not None else None,
            rate_asked_hz=camera_format.rate_asked_hz,
            clock_drift_ppm=round(drift_ppm, 3) if drift_ppm is not None else None,
            clock_restarts=stamps.clock_restarts if stamps.has_clock else None,
            free_bytes=space.free_bytes if space is not None else None,
        )
        return counters if self._recorder is None else _with_recording(counters, self._recorder)

    def stop(self) -> None:
        """End the capture, encode what waits, close the files."""
        if self._capture is not None:
            self._capture.end()
        elif self._camera is not None:
            self._camera.stop()
        if self._recorder is not None:
            self._recorder.close()
            if self._capture is not None:
                self._capture.note_refused(self._recorder.states.get(FrameState.ENCODER_ERROR, 0))
        if self._lock is not None:
            self._lock.release()
        if self._publisher is not None:
            self._publisher.close()
        if self._recorder is not None:
            self._check(self._recorder)
        if self._capture is not None and self._capture.error is not None:
            raise self._capture.error


def _with_recording(counters: CameraCounters, recorder: Recorder) -> CameraCounters:
    """Add what the recorder counts."""
    rows = recorder.states
    return msgspec.structs.replace(
        counters,
        rows_delivered=max(0, rows.get(FrameState.DELIVERED, 0)),  # its two tables grow while they are counted
        rows_recorded=rows.get(FrameState.RECORDED, 0),
        rows_lost_camera=rows.get(FrameState.LOST_CAMERA, 0),
        rows_lost_queue=rows.get(FrameState.LOST_QUEUE, 0),
        rows_encoder_error=rows.get(FrameState.ENCODER_ERROR, 0),
        rows_not_recorded=rows.get(FrameState.NOT_RECORDED, 0),
        waiting=recorder.waiting,
        waiting_ms=recorder.waiting_ms,
        merged=recorder.merged,
        longest_queue=recorder.longest_queue,
        longest_queue_bytes=recorder.longest_queue_bytes,
        unwritten=recorder.unwritten,
        video_bytes=recorder.video_bytes,
    )


def make_camera(job: CameraJob, guard: Guard) -> Camera:
    """Make the camera of a job, with its view, without touching the hardware; its backend is called through the guard.

    Raises
    ------
    CameraError
        The rig has a key or value that it does not know.
    PluginError
        The backend did what it must not.
    """
    folder = Path(job.rig_folder)
    made = guard.call("__init__", create_camera, job.camera, job.backend, job.options, folder, job.known_keys)
    camera = GuardedCamera(made, guard)
    return camera if job.view is None else ViewedCamera(camera, job.view, job.camera, folder)


def stream_info(name: str, camera: CameraFormat) -> StreamInfo:
    """Say what a camera will publish; the address is not known yet."""
    return StreamInfo(
        camera=name,
        endpoint="",
        height=camera.height,
        width=camera.width,
        pixel_format=camera.pixel_format,
        rate_hz=camera.rate_hz,
        truth_names=camera.truth_names,
        sensor=camera.sensor,
    )


def _details(camera: CameraFormat, job: CameraJob, cpus: Sequence[int] | None) -> CameraDetails:
    deep, described = camera.bits > 8, bool(camera.settings)
    return CameraDetails(
        camera=camera.description,
        tick_ns=camera.tick_ns,
        settings=camera.settings,
        origin=camera.origin if described else None,
        binning=camera.binning if described else None,
        warnings=camera.warnings,
        bits=camera.bits,
        levels=(camera.levels or (0, 2**camera.bits - 1)) if deep else None,
        video=_video_name(job.recording) if job.recording is not None else None,
        cpus=tuple(cpus) if cpus is not None else None,
    )


def _video_name(recording: RecordingSettings) -> Literal["video.mp4", "video.mkv"]:
    return "video.mp4" if recording.container == "mp4" else "video.mkv"


def _check_space(folder: Path, min_free_bytes: int, stop_free_bytes: int) -> None:
    parent = next(parent for parent in folder.absolute().parents if parent.exists())
    free, needed = disk_usage(parent).free, max(min_free_bytes, stop_free_bytes)
    key = "min_free_gib" if min_free_bytes >= stop_free_bytes else "stop_free_gib"
    if free < needed:
        raise DiskError(
            f"{parent} has {free / 2**30:.1f} GiB free, less than the {needed / 2**30:.1f} that "
            f"session.{key} asks for; make room or choose another session.output"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a camera process; gives its exit status."""
    given = parse_arguments("camera", arguments)
    return serve(CameraRole(), f"camera:{given.name}", given.control, given.keys)
