"""The inference process: frames of all cameras in, poses out.

The receiver's thread (`receiver.py`) and the two of the pipeline (`pipeline.py`) carry the data; the main thread
talks to the supervisor.
"""

import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import zmq

from posestream.inference.engine import Engine, Shape
from posestream.inference.engines import open_engine
from posestream.inference.errors import ModelError
from posestream.inference.filters import FILTERS
from posestream.inference.filters.chain import FilterChain
from posestream.inference.formats.bundled import find_model
from posestream.inference.formats.models import load_model
from posestream.inference.live.batcher import INVALID_POSE, Batcher
from posestream.inference.live.expected import common_batch, measure_expected
from posestream.inference.live.pipeline import Pipeline
from posestream.inference.live.pose_publisher import PosePublisher
from posestream.inference.live.receiver import Receiver
from posestream.inference.windows.camera_window import CropWindowCounts
from posestream.inference.windows.crop_window_run import CropWindowRun
from posestream.stream.wire.control import Armed, Start
from posestream.stream.wire.counters import InferenceCounters, StreamCounters, WindowCounters
from posestream.stream.wire.details import InferenceDetails, ModelDetails
from posestream.stream.wire.endpoints import EndpointError
from posestream.stream.wire.errors import UserError
from posestream.stream.wire.jobs import InferenceJob, Job
from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import Event
from posestream.stream.wire.priority import CpusError, set_cpus, set_priority
from posestream.stream.wire.process import parse_arguments, serve
from posestream.stream.wire.sockets import RECONNECT_S

__all__ = ["InferenceRole", "main", "prepare_engine"]

CONNECT_S = 10.0
TELL_S = 1.0
"""Seconds between two events of one kind."""


class ConnectionLostError(UserError):
    """A camera's stream could not be heard; the text is for people."""


class InferenceRole:
    """One network for any number of cameras: see `posestream.stream.wire.process.Role`."""

    usage_errors: tuple[type[Exception], ...] = (ModelError, EndpointError, ConnectionLostError, CpusError)
    failures: tuple[type[Exception], ...] = (ModelError,)

    def __init__(self) -> None:
        self._pipeline: Pipeline | None = None
        self._receiver: Receiver | None = None
        self._batcher: Batcher | None = None
        self._publisher: PosePublisher | None = None
        self._windows: dict[Shape, CropWindowRun] = {}
        self._published: dict[str, int] = {}
        self._engine_name = ""
        self._told: Counter[str] = Counter()  # by camera, invalid poses that were told of
        self._told_s = 0.0

    def arm(self, job: Job, keys: Keys | None) -> Armed:
        """Load the model, compile and warm it up for every stream, and listen to the cameras."""
        if not isinstance(job, InferenceJob):
            raise TypeError(f"an inference process was given a {type(job).__name__}")
        set_priority("network")  # its threads would take every core, and the camera's time with them
        cpus = set_cpus(job.cpus) if job.cpus else None
        context: zmq.Context[Any] = zmq.Context.instance()
        source = find_model(job.model, Path(job.rig_folder))
        bundle = load_model(source)
        spec = bundle.spec
        self._batcher = Batcher(job.mode, job.batch_size, round(job.wait_ms * 1e6), job.queue_bytes)
        self._publisher = PosePublisher(
            context,
            job.endpoint,
            session=job.session,
            streams=job.streams,
            bodyparts=spec.bodyparts,
            skeleton=spec.skeleton,
            scorer=spec.scorer,
            keys=keys,
        )
        self._receiver = Receiver(context, job.session, job.streams, self._batcher, self._publisher, keys)
        began = time.monotonic()
        # On Linux engines count the cores that they may run on, on Windows those that there are
        threads = job.threads or (len(cpus) if cpus is not None else None)
        engine = open_engine(bundle, job.engine, job.precision, threads)
        self._engine_name, self._windows = engine.name, prepare_engine(engine, job)
        warm_up_s = time.monotonic() - began
        expected = measure_expected(engine, job)
        self._wait_for_cameras(self._receiver, job)
        # Readers that wait for the poses try again now and then; they are to see the first one, too.
        time.sleep(max(0.0, began + 2 * RECONNECT_S - time.monotonic()))
        self._pipeline = Pipeline(
            engine, self._batcher, self._receiver, self._publisher, self._windows, FilterChain(FILTERS)
        )
        details = InferenceDetails(
            model=msgspec.convert(msgspec.to_builtins(spec), ModelDetails),
            model_path=str(source),
            model_sha256=bundle.digest(),
            engine=engine.name,
            precision=engine.precision,
            engine_reason=engine.remark,
            warm_up_s=round(warm_up_s, 2),
            expected=expected,
            cpus=tuple(cpus) if cpus is not None else None,
            threads=threads if cpus is not None else None,
        )
        return Armed(endpoint=self._publisher.endpoint, inference=details)

    @staticmethod
    def _wait_for_cameras(receiver: Receiver, job: InferenceJob) -> None:
        deadline = time.monotonic() + CONNECT_S
        while unheard := receiver.unheard:
            if time.monotonic() > deadline:
                places = ", ".join(
                    f"{info.camera} at {info.endpoint}" for info in job.streams if info.camera in unheard
                )
                raise ConnectionLostError(
                    f"inference ({platform.node()}) has heard nothing of camera {places} for {CONNECT_S:g} s; can it "
                    "reach that address (firewall), and are the keys the same?"
                )
            time.sleep(0.01)

    def start(self, start: Start) -> None:  # noqa: ARG002 - frames flow as soon as the cameras run
        """Begin to infer."""
        if self._pipeline is not None:
            self._pipeline.start()

    def done(self) -> bool:
        """Whether all cameras ended and all their frames came out; raises what went wrong in a thread."""
        if self._pipeline is not None:
            self._pipeline.look()
        for thread in (self._receiver, self._pipeline):
            if thread is not None and thread.error is not None:
                raise thread.error
        return self._pipeline is not None and self._pipeline.drained

    def events(self) -> list[Event]:
        """Take what happened since the last call: poses that are none, told once a second at most."""
        if self._batcher is None or self._publisher is None or time.monotonic() - self._told_s < TELL_S:
            return []
        events = []
        for (camera, cause), number in list(self._batcher.skipped.items()):
            if cause == INVALID_POSE and (new := number - self._told[camera]):
                self._told[camera], self._told_s = number, time.monotonic()
                text = (
                    f'camera {camera}: engine "{self._engine_name}" gave {new} poses that are not finite or whose '
                    "likelihood is not within 0 to 1; these frames are skipped"
                )
                events.append(self._publisher.event(camera, "invalid-pose", text, {"count": new}, level="warning"))
        return events

    def counters(self) -> InferenceCounters | None:
        """Give the counters, of each camera and of the whole."""
        receiver, batcher, publisher, pipeline = self._receiver, self._batcher, self._publisher, self._pipeline
        if receiver is None or batcher is None or publisher is None or pipeline is None:
            return None
        closings, ages = batcher.closings, sorted(publisher.ages_ms)
        return InferenceCounters(
            cameras={camera: self._of_camera(camera, receiver, batcher, publisher) for camera in receiver.cameras},
            waiting=batcher.waiting,
            unsent=publisher.unsent,
            malformed=publisher.malformed + receiver.malformed.total(),
            refused=publisher.refused,
            foreign=receiver.foreign.total(),
            frames_in_batches=pipeline.frames,
            batches_full=closings["full"],
            batches_wait=closings["wait"],
            batches_idle=closings["idle"],
            age_p50_ms=ages[len(ages) // 2] if ages else None,
            age_p99_ms=ages[int(len(ages) * 0.99)] if ages else None,
        )

    def _of_camera(self, camera: str, receiver: Receiver, batcher: Batcher, publisher: PosePublisher) -> StreamCounters:
        window = CropWindowCounts()
        for run in self._windows.values():
            window.add(run.counts_of(camera))
        return StreamCounters(
            received=receiver.received[camera],
            poses=publisher.published[camera],
            skipped={cause: number for (name, cause), number in list(batcher.skipped.items()) if name == camera},
            window=WindowCounters(**asdict(window)) if self._windows else None,
        )

    def published(self, frames: dict[str, int]) -> None:
        """Hear how many frames each camera published; those that have not come are noted as lost when this ends."""
        self._published = frames

    def stop(self) -> None:
        """Skip what waits, finish what the engine is at, and close."""
        if self._batcher is not None:
            self._batcher.close(drain=False)
        if self._pipeline is not None:
            self._pipeline.close()
        if self._receiver is not None:
            self._receiver.close()
            self._receiver.account(self._published)
        if self._publisher is not None and self._batcher is not None:
            self._publisher.skipped(self._batcher.take_skipped())
            self._publisher.end()
            self._publisher.close()
        if self._pipeline is not None and self._pipeline.error is not None:
            raise self._pipeline.error


def prepare_engine(engine: Engine, job: InferenceJob) -> dict[Shape, CropWindowRun]:
    """Compile and warm up for every frame that the streams can bring.

    Returns
    -------
    dict
        By frame size and pixel format, what runs windows that follow the animals, where the job says so.

    Raises
    ------
    ModelError
        The engine can't run such frames, or no window lies in them.
    """
    sizes, windows = sorted({1, common_batch(job)}), {}
    for shape in sorted({(info.height, info.width, info.pixel_format) for info in job.streams}):
        if job.window is None:
            engine.prepare(*shape, batch_sizes=sizes)
            continue
        height, width, pixel_format = shape
        settings = job.window
        if min(settings.sides) > min(height, width):
            raise ModelError(
                f"inference.window: no window of {', '.join(map(str, settings.sides))} pixels lies in frames of "
                f"{width}x{height}. Give smaller sides, or leave the window out."
            )
        windows[shape] = CropWindowRun(engine, settings, width, height, sizes[-1])
        windows[shape].prepare(pixel_format)
    return windows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an inference process; gives its exit status."""
    given = parse_arguments("inference", arguments)
    return serve(InferenceRole(), "inference", given.control, given.keys)
