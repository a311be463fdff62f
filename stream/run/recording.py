"""From the moment when everybody is armed until something ends the recording."""

import time
from shutil import disk_usage

from msgspec import UnsetType
from msgspec.structs import asdict

from posestream.stream.run.children import Child, turned_away
from posestream.stream.run.current import CurrentRun
from posestream.stream.run.listening import Listening
from posestream.stream.run.outcome import NothingRecordedError, RunView
from posestream.stream.run.outlook import expected_poses
from posestream.stream.session.session_record import CameraRecord, InferenceRecord, known
from posestream.stream.wire.control import Start
from posestream.stream.wire.details import CameraDetails, MeasuredNetwork

__all__ = ["begin", "open_session", "until_end"]

SHOW_S = 0.25
START_S = 30.0
"""Seconds in which a camera that follows another must be waiting for its signal."""


def open_session(run: CurrentRun) -> None:
    """Make the session's files, and say what is ready.

    Raises
    ------
    NothingRecordedError
        Where they can't be made.
    """
    try:
        run.session.begin(*_details(run))
        run.log.open(run.session.folder)
    except OSError as error:
        raise NothingRecordedError(f"{run.session.folder} can't be made: {error.strerror}") from error
    for name, info in run.crew.streams.items():
        run.display.phase(
            f"ready: camera {name}, {info.width}x{info.height} {info.pixel_format}, frames at {info.endpoint}"
        )
    if run.crew.pose_endpoint is not None:
        run.display.phase(f"ready: inference, poses at {run.crew.pose_endpoint}")
        _expect(run)


def begin(run: CurrentRun) -> None:
    """Let all processes begin: readers first, so that nobody misses the first frame."""
    for row in sorted(run.crew.rows, key=lambda row: row.begins):
        groups = run.crew.groups(row)
        for group in groups:
            for child in group:
                run.dispatch.send(child, Start(poses=run.crew.pose_endpoint))
                child.state, child.heard_s = "running", time.monotonic()
            if group is not groups[-1]:
                _until_started(run, group)
    run.display.phase(f"recording to {run.session.folder}")
    if run.crew.inference is not None:
        run.listening = Listening(run.crew, run.session.id, run.note)


def until_end(run: CurrentRun, started: float) -> str:
    """Record until something ends it; says what.

    Parameters
    ----------
    run
        The run.
    started
        When it began, in monotonic seconds.
    """
    seconds, shown = run.rig.session.seconds, 0.0
    carriers = run.crew.of(*(row.name for row in run.crew.rows if row.carries))
    while True:
        run.tick()
        if run.note_deaths() or run.output_is_gone():
            return "failure"
        if run.stops:
            return run.stops.reason
        if seconds is not None and time.monotonic() - started >= seconds:
            return "seconds"
        if all(child.over for child in carriers):
            return "cameras ended"
        if time.monotonic() - shown >= SHOW_S:
            shown = time.monotonic()
            run.display.running(_view(run, shown - started))


def _expect(run: CurrentRun) -> None:
    """Say how many poses to expect, and warn where the network will not keep up with the cameras."""
    armed, table = run.crew.inference_armed, run.rig.inference
    told = armed.inference if armed is not None else None
    if table is None or told is None or isinstance(told.expected, UnsetType):
        return
    network = MeasuredNetwork(
        name=known(told.model.name, ""),
        engine=known(told.engine, ""),
        precision=known(told.precision, ""),
        expected=told.expected,
    )
    outlook = expected_poses(network, run.crew.streams.values(), table)
    run.display.phase(outlook.text)
    if outlook.advice:
        run.display.phase(outlook.advice)


def _until_started(run: CurrentRun, waiting: list[Child]) -> None:
    """Wait until these cameras wait for their leader's signal; who fails or is silent ends no run here."""
    deadline = time.monotonic() + START_S
    while not run.stops:
        told = run.crew.camera_counters
        started = {name for name, counters in told.items() if counters is not None and counters.started}
        waiting = [c for c in waiting if not (c.over or c.failure or c.name in started)]
        if not waiting:
            return
        if time.monotonic() > deadline:
            titles = ", ".join(child.title for child in waiting)
            run.display.problem(f"{titles}: not started in {START_S:g} s; the leader starts without waiting")
            return
        run.tick()


def _details(run: CurrentRun) -> tuple[dict[str, CameraRecord], InferenceRecord | None]:
    """Give what the processes said when they were armed, for the session's record."""
    cameras = {
        name: CameraRecord(stream=child.armed.stream, **asdict(child.armed.camera or CameraDetails()))
        for name, child in run.crew.cameras.items()
        if child.armed is not None and child.armed.stream is not None
    }
    armed = run.crew.inference_armed
    if armed is None or armed.inference is None:
        return cameras, None
    return cameras, InferenceRecord(poses=armed.endpoint, **asdict(armed.inference))


def _view(run: CurrentRun, seconds: float) -> RunView:
    """Give what a person is shown."""
    turned = turned_away(run.crew, run.dispatch.control)
    return RunView(
        seconds=seconds,
        asked_s=run.rig.session.seconds,
        free_bytes=_free_bytes(run),
        malformed=sum(turned.malformed.values()),
        refused=sum(turned.refused.values()),
        cameras=run.crew.camera_counters,
        inference=run.crew.inference_counters,
        deaf=run.listening.deaf if run.listening is not None else (),
    )


def _free_bytes(run: CurrentRun) -> int:
    try:
        return disk_usage(run.session.folder).free
    except OSError:  # the folder is gone, which is said elsewhere
        return 0
