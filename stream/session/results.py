"""What is written when a run has ended: DeepLabCut's files, the summary, and the session's last word."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from posestream.stream.disk.reserve import remove_reserve
from posestream.stream.disk.tables import LOST_STATES, SkipCause
from posestream.stream.session.closing import close_camera, read_camera
from posestream.stream.session.events import EVENTS, count_events
from posestream.stream.session.json_files import write_record
from posestream.stream.session.reader import SUMMARY_FILE
from posestream.stream.session.reconcile import left_open, reconcile_camera
from posestream.stream.session.record import Session
from posestream.stream.session.session_record import SessionRecord, known
from posestream.stream.session.summary import summarize_camera
from posestream.stream.session.summary_record import CameraSummary, RecordedCounters, SummaryRecord
from posestream.stream.wire.counters import CameraCounters, InferenceCounters, PoseRecorderCounters, WindowCounters

__all__ = ["EndOfRun", "losses", "write_results"]


@dataclass(frozen=True, kw_only=True)
class EndOfRun:
    """How a run ended, as far as its processes and the supervisor know it."""

    cameras: Mapping[str, CameraCounters | None]
    """Last counters of each camera; none of one that told none."""
    inference: InferenceCounters | None
    """Last counters of inference, where it told some."""
    poses: PoseRecorderCounters | None
    """Last counters of the pose recorder, where it told some."""
    problems: Sequence[str]
    """What went wrong, a sentence each; that the session's folder is gone, where it is, so that nothing is written."""
    malformed: dict[str, int]
    """Messages that were dropped, by process."""
    refused: dict[str, int]
    """Connections that were refused, by process."""
    unclean: bool
    """Whether a process failed, or ended without closing its files."""
    ended: str
    """Why the run ended."""
    seconds: float
    """From the start to here."""


def write_results(session: Session, end: EndOfRun) -> SummaryRecord:
    """Write the results of a session and give its summary.

    Parameters
    ----------
    session
        The session.
    end
        How its run ended.
    """
    record, folder, problems = session.record, session.folder, list(end.problems)
    unfinished, gone = False, not folder.is_dir()
    cameras: dict[str, CameraSummary] = {}
    for name in record.cameras if not gone else ():
        if record.rig.cameras[name].remote:
            cameras[name] = CameraSummary(remote=str(session.remote_folder(name)), counters=_counters(end, name))
            continue
        summary = CameraSummary()
        try:
            remove_reserve(folder / name)  # a process that was killed left it
            problems += [f"camera {name}: {text}" for text in _reconciled(folder / name, record, end)]
            tables = read_camera(folder / name, inferred=record.inference is not None)
            stream, video = record.cameras[name].stream, record.cameras[name].video
            summary = summarize_camera(folder / name, stream, video, tables, end.cameras.get(name))
            summary = replace(summary, files=close_camera(folder / name, tables, record))
        except (OSError, ValueError) as error:
            unfinished = True
            problems.append(f"camera {name}: results can't be written: {_reason(error)}")
        cameras[name] = replace(summary, counters=_counters(end, name), window=_window(end, name))
    events = _count_events(folder, problems)
    problems += losses(cameras, every_frame=record.is_every_frame, engine=record.engine)
    if unfinished:
        problems.append(f"the session is not complete; when that is mended: posestream recover {folder}")
    result = SummaryRecord(
        session=session.id,
        folder=str(folder),
        ended=end.ended,
        seconds=round(end.seconds, 3),
        exit_status=1 if problems else 0,
        problems=problems,
        cameras=cameras,
        inference=end.inference,
        events=events,
        malformed=end.malformed,
        refused=end.refused,
    )
    if gone:
        return result
    try:
        write_record(folder / SUMMARY_FILE, result)
        if not unfinished:
            session.end(end.ended, problems)
    except OSError as error:
        text = f"the summary can't be written: {_reason(error)}; then: posestream recover {folder}"
        return replace(result, problems=[*problems, text], exit_status=1)
    return result


def _reconciled(folder: Path, record: SessionRecord, end: EndOfRun) -> list[str]:
    """Give a frame a row or a word that what was killed, or met a full disk, may have left without; says what was."""
    if not end.unclean and not left_open(folder):
        return []
    counters = end.cameras.get(folder.name)
    captured = counters.captured if counters is not None else 0
    return reconcile_camera(folder, record.cameras[folder.name].video, bodyparts=record.bodyparts, captured=captured)


def _counters(end: EndOfRun, name: str) -> RecordedCounters | None:
    """Put together what the camera's process counted and what the pose recorder did."""
    camera, poses = end.cameras.get(name), end.poses.cameras.get(name) if end.poses is not None else None
    if camera is None and poses is None:
        return None
    counters = RecordedCounters(**asdict(camera or CameraCounters()))
    if poses is None:
        return counters
    return replace(counters, poses_recorded=poses.poses_recorded, poses_lost=poses.poses_lost)


def _window(end: EndOfRun, name: str) -> WindowCounters | UnsetType:
    camera = end.inference.cameras.get(name) if end.inference is not None else None
    return camera.window if camera is not None and camera.window is not None else UNSET


def _reason(error: Exception) -> str:
    """Say what a person can mend."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; make room"
    return str(error)


def _count_events(folder: Path, problems: list[str]) -> dict[str, int]:
    """Count the events by name; says among the problems where they can't be read."""
    try:
        return count_events(folder) if folder.exists() else {}  # a folder that was deleted is named elsewhere
    except OSError as error:
        problems.append(f"{EVENTS} can't be read: {error.strerror}")
    except ValueError as error:
        problems.append(f"{EVENTS} can't be read: {error}")
    return {}


def losses(cameras: Mapping[str, CameraSummary], *, every_frame: bool, engine: str) -> list[str]:
    """Say what was lost against what was asked for: frames in any case, poses where every frame was to have one.

    Poses that the engine gave and that are none are a problem in any case.
    """
    return [
        f"camera {name}: {text}"
        for name, camera in cameras.items()
        for text in _camera_losses(camera, every_frame=every_frame, engine=engine)
    ]


def _camera_losses(camera: CameraSummary, *, every_frame: bool, engine: str) -> Iterator[str]:
    frames, counters = known(camera.frames, {}), known(camera.counters, None)
    for state in LOST_STATES:
        if frames.get(state):
            yield f"{frames[state]} frames are not in the video ({state})"
    unwritten = (counters.captured if counters is not None else 0) - frames.get("captured", 0)
    if frames and unwritten > 0:
        yield f"{unwritten} frames were delivered and have no row in frames.csv"
    if (poses := known(camera.poses, None)) is not None:
        if every_frame and poses.skipped:
            causes = ", ".join(f"{count} {cause}" for cause, count in poses.skipped.items())
            yield f"every frame was to get a live pose; skipped were {causes}"
        if invalid := poses.skipped.get(SkipCause.INVALID_POSE):
            yield f'engine "{engine}" gave {invalid} poses that are not finite or whose likelihood is not within 0 to 1'
        if poses.unexplained:
            yield f"{poses.unexplained} frames have neither a pose nor a skip record"
    if counters is not None and (lost := known(counters.poses_lost, 0)):
        yield f"{lost} poses did not reach the pose recorder"
