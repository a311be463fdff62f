"""Computes from the recorded video the poses that live inference skipped, so that every recorded frame has one.

They go to a table of their own, `backfilled.csv`, as they come; live poses are never changed. Whatever ends this on
the way, the next call resumes after the last complete row.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from posestream.inference.offline.video_batches import VideoBatches
from posestream.stream.disk.links import refuse_link
from posestream.stream.disk.lock import refuse_live, session_lock
from posestream.stream.disk.tables import TableWriter, backfilled_columns, keypoint_cells
from posestream.stream.offline.backfill_network import BackfillError, open_network
from posestream.stream.offline.progress import Progress
from posestream.stream.session.closing import close_camera, read_camera
from posestream.stream.session.json_files import write_record
from posestream.stream.session.manifest import Renewal
from posestream.stream.session.reader import SESSION_FILE, SUMMARY_FILE, load_session, read_summary
from posestream.stream.session.session_record import BackfillRecord, SessionRecord, known
from posestream.stream.session.summary_record import CameraSummary
from posestream.stream.session.table_checks import check_tables
from posestream.stream.session.tables import number_runs, read_backfilled
from posestream.stream.session.video_frames import VideoFrames
from posestream.stream.wire.messages import StreamInfo

if TYPE_CHECKING:
    from posestream.inference.engine import Engine

__all__ = ["Backfill", "BackfillError", "BackfillResult"]

SYNC_S = 1.0
NAMED_RUNS = 5
"""Stretches of frames that are named where frames can't be decoded."""


@dataclass(frozen=True, eq=False)
class _Camera:
    """What there is to do for a camera."""

    name: str
    folder: Path
    video: Path
    info: StreamInfo
    seq: NDArray[np.int64]
    """Number in the stream of each frame of the video."""
    times_us: NDArray[np.int64]
    wanted: NDArray[np.int64]
    """Frames of the video that have no pose."""


class ClosedCamera(TypedDict):
    """What came of one camera."""

    backfilled: int
    """Poses that were computed in this call."""
    without_pose: int
    """Frames of the video that have none still."""
    pose_states: NotRequired[dict[str, int]]
    """Rows of `frames.csv` by pose state; absent where there was nothing to do, as `files`."""
    files: NotRequired[list[str]]
    """DeepLabCut's files, from the session's folder."""


class BackfillResult(TypedDict):
    """What came of a backfill, as `posestream backfill --json` prints it."""

    session: str
    """Its id."""
    folder: str
    backfilled: int
    """Poses that were computed in this call."""
    without_pose: int
    """Frames of the videos that have none still."""
    stopped: bool
    """Whether somebody ended it early."""
    seconds: float
    problems: list[str]
    """A sentence each."""
    cameras: dict[str, ClosedCamera]


class Backfill:
    """A backfill of one session that is closed.

    Parameters
    ----------
    folder
        The session folder.
    model
        The model; the one that the session ran where not given.
    camera
        The only camera to do.
    batch_size
        Frames that are inferred together; as in the rig where not given.
    show
        Called after every batch.
    tell
        Called with what is being done now.
    supervised
        Whether the supervisor does this as a part of the run: it holds its lock, and writes the manifest afterwards.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model: Path | None = None,
        camera: str | None = None,
        batch_size: int | None = None,
        show: Callable[[Progress], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
        supervised: bool = False,
    ) -> None:
        self._supervised = supervised
        self._folder, self._model, self._camera, self._batch_size = folder, model, camera, batch_size
        self._show, self._tell = show, tell
        self._stopping = threading.Event()
        self._renewal: Renewal | None = None

    def stop(self) -> None:
        """End early, after the batch that the engine is at; what was computed is kept and the tables are closed."""
        self._stopping.set()

    def run(self) -> BackfillResult:
        """Compute the poses, and close the tables.

        Returns
        -------
        BackfillResult
            As JSON has it.

        Raises
        ------
        BackfillError
            Where it can't be done: the session is open, ran without a network, or the model is absent or another.
        NoSessionError
            Where the folder is no session.
        InUseError
            Where the session is still being recorded, or another process changes it.
        ManifestError
            Where its manifest can't be read.
        OSError, ValueError
            Where a table or `session.json` can't be read or written.
        """
        began = time.monotonic()
        session = load_session(self._folder)
        refuse_live(self._folder, supervised=self._supervised)
        self._check(session)
        with session_lock(self._folder, supervised=self._supervised):
            session = load_session(self._folder)  # somebody may have ended his work on it only now
            check_tables(self._folder, session, network=False)  # its network comes later
            every = [self._look(session, name) for name in self._names(session)]
            cameras = [camera for camera in every if self._camera in (None, camera.name)]
            problems: list[str] = []
            missing = any(len(camera.wanted) for camera in cameras)
            if (missing or session.backfill_was_cut_off) and not self._supervised:
                problems += self._look_at_manifest()
            if missing:
                self._tell("loading the network")
                engine, session = self._engine(session)
                for camera in cameras:
                    problems += self._backfill(session, camera, engine)
                # which may have been chosen only now
                session = _with_backfill(session, precision=engine.precision)
            if missing or session.backfill_was_cut_off:
                self._tell("writing the results")
                self._begin()
                closed = {camera.name: _close(session, camera) for camera in cameras}
                others = sum(len(camera.wanted) for camera in every if camera not in cameras)
                self._end(session, closed, others, problems)
                if self._renewal is not None:
                    self._renewal.finish()
            else:
                closed = {camera.name: ClosedCamera(backfilled=0, without_pose=0) for camera in cameras}
        return {
            "session": session.id,
            "folder": str(self._folder),
            "backfilled": sum(camera["backfilled"] for camera in closed.values()),
            "without_pose": sum(camera["without_pose"] for camera in closed.values()),
            "stopped": self._stopping.is_set(),
            "seconds": round(time.monotonic() - began, 3),
            "problems": problems,
            "cameras": closed,
        }

    def _look_at_manifest(self) -> list[str]:
        """See whether the session is as it was when it was closed, as far as its manifest tells; gives what is not."""

        def show(_done: int, _total: int) -> None:
            if self._stopping.is_set():
                raise BackfillError("stopped before anything was changed")

        self._tell("checking the session against its manifest")
        self._renewal = Renewal(self._folder, "backfill", show)
        return self._renewal.problems

    def _begin(self) -> None:
        """Say in the manifest that files are written now."""
        if self._renewal is not None:
            self._renewal.begin()

    def _check(self, session: SessionRecord) -> None:
        if session.state == "recording":
            raise BackfillError(
                f"{self._folder} is still recorded, or was never closed: wait until the run has ended, "
                f"or run: posestream recover {self._folder}"
            )
        if session.inference is None:
            raise BackfillError(f"{self._folder} was recorded without a network: there are no live poses to complete")
        here = [name for name in session.cameras if (self._folder / name).is_dir()]
        if self._camera is not None and self._camera not in here:
            raise BackfillError(f"{self._folder} has no camera {self._camera}; there are: {', '.join(here) or 'none'}")

    def _names(self, session: SessionRecord) -> list[str]:
        """Cameras with a video on this machine."""
        return [n for n, details in session.cameras.items() if details.video and (self._folder / n).is_dir()]

    def _look(self, session: SessionRecord, name: str) -> _Camera:
        details, folder = session.cameras[name], self._folder / name
        tables = read_camera(folder, inferred=True)
        return _Camera(
            name=name,
            folder=folder,
            video=folder / str(details.video),
            info=details.stream,
            seq=tables.recorded["seq"].to_numpy(np.int64),
            times_us=tables.recorded["pts_us"].to_numpy(np.int64),
            wanted=tables.without_pose,
        )

    def _engine(self, session: SessionRecord) -> tuple["Engine", SessionRecord]:
        """Open the engine; gives the session's record with it, which is written as that of a running backfill."""
        begun = [name for name in self._names(session) if read_backfilled(self._folder / name) is not None]
        engine, network = open_network(self._folder, session, self._model, begun)
        check_tables(self._folder, session)
        session = _with_backfill(session, state="running", precision=engine.precision, **asdict(network))
        self._begin()
        write_record(self._folder / SESSION_FILE, session)
        return engine, session

    # The work.

    def _backfill(self, session: SessionRecord, camera: _Camera, engine: "Engine") -> list[str]:
        """Write the poses of one camera; gives what went wrong."""
        from posestream.inference.engines.guarded import sound_poses

        if not len(camera.wanted) or self._stopping.is_set():
            return []
        size = min(self._batch_size or session.batch_size, len(camera.wanted))
        self._tell(f"camera {camera.name}: warming the network up")
        engine.prepare(camera.info.height, camera.info.width, camera.info.pixel_format, [size])
        frames = VideoFrames(camera.video, camera.times_us, camera.wanted, camera.info.pixel_format)
        refuse_link(camera.folder / "backfilled.csv")
        table = TableWriter(camera.folder / "backfilled.csv", backfilled_columns(engine.bodyparts), resume=True)
        left, began, invalid = set(camera.wanted.tolist()), time.monotonic(), 0
        synced = began
        try:
            with VideoBatches(frames, size) as batches:
                for indices, pixels in batches:
                    if self._stopping.is_set():
                        return []
                    poses = engine.run(pixels, camera.info.pixel_format)
                    for index, keypoints, good in zip(indices, poses, sound_poses(poses), strict=True):
                        if good:
                            table.append((int(camera.seq[index]), index, *keypoint_cells(keypoints)))
                        else:
                            invalid += 1
                    left.difference_update(indices)
                    done, now = len(camera.wanted) - len(left), time.monotonic()
                    self._show(Progress(camera.name, done, len(camera.wanted), now - began))
                    if now - synced > SYNC_S:
                        table.sync()
                        synced = now
        finally:
            table.close()
        wrong = []
        if invalid:
            wrong.append(
                f'camera {camera.name}: engine "{engine.name}" gave {invalid} poses that are not finite or whose '
                "likelihood is not within 0 to 1; these frames stay without a pose"
            )
        if not left:
            return wrong
        runs = [f"{first} to {last}" if last > first else str(first) for first, last in number_runs(sorted(left))]
        named = ", ".join(runs[:NAMED_RUNS]) + (" ..." if len(runs) > NAMED_RUNS else "")
        reason = frames.problem or f"{camera.video.name} ends before them"
        return [*wrong, f"camera {camera.name}: {len(left)} frames of the video can't be decoded ({named}): {reason}"]

    # The end: each file is replaced as a whole, and session.json says last that it is done.

    def _end(self, session: SessionRecord, closed: dict[str, ClosedCamera], others: int, problems: list[str]) -> None:
        missing = others + sum(camera["without_pose"] for camera in closed.values())
        session = _with_backfill(session, state="partial" if missing else "complete", without_pose=missing)
        summary = read_summary(self._folder)
        if summary is not None and isinstance(session.backfill, BackfillRecord):  # a run that was killed wrote none
            cameras = dict(summary.cameras)
            for name, camera in closed.items():
                before = cameras.get(name, CameraSummary())
                cameras[name] = replace(before, pose_states=camera["pose_states"], files=camera["files"])
            backfill = replace(session.backfill, problems=problems)
            write_record(self._folder / SUMMARY_FILE, replace(summary, cameras=cameras, backfill=backfill))
        write_record(self._folder / SESSION_FILE, session)


def _with_backfill(session: SessionRecord, **changes: object) -> SessionRecord:
    """Change what the session's record says of its backfill."""
    before = known(session.backfill, BackfillRecord(state="running"))
    return replace(session, backfill=replace(before, **changes))


def _close(session: SessionRecord, camera: _Camera) -> ClosedCamera:
    tables = read_camera(camera.folder, inferred=True)
    files = close_camera(camera.folder, tables, session)
    return {
        "backfilled": len(camera.wanted) - len(tables.without_pose),
        "without_pose": len(tables.without_pose),
        "pose_states": tables.pose_states,
        "files": files,
    }
