"""Computes from the recorded video the poses that live inference skipped, so that every recorded frame has one.

They go to a table of their own, `backfilled.csv`, as they come; live poses are never changed. Whatever ends this on
the way, the next call resumes after the last complete row.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.formats.bundled import bundled_networks, find_model
from posestream.inference.offline.video_batches import VideoBatches
from posestream.stream.disk.links import refuse_link
from posestream.stream.disk.lock import refuse_live, session_lock
from posestream.stream.disk.tables import TableWriter, backfilled_columns, keypoint_cells
from posestream.stream.offline.progress import Progress
from posestream.stream.session.closing import close_camera, read_camera
from posestream.stream.session.manifest import Renewal
from posestream.stream.session.reader import backfill_was_cut_off, load_session, read_summary
from posestream.stream.session.record import write_json
from posestream.stream.session.table_checks import check_tables
from posestream.stream.session.tables import number_runs, read_backfilled
from posestream.stream.session.video_frames import VideoFrames
from posestream.stream.wire.messages import StreamInfo

if TYPE_CHECKING:
    from posestream.inference.engine import Engine

from posestream.stream.wire.errors import InputError

__all__ = ["Backfill", "BackfillError"]

SYNC_S = 1.0
NAMED_RUNS = 5
"""Stretches of frames that are named where frames can't be decoded."""


class BackfillError(InputError):
    """What was asked for can't be done, and nothing was changed; the text is for people."""


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
        self._session: dict[str, Any] = {}
        self._renewal: Renewal | None = None

    def stop(self) -> None:
        """End early, after the batch that the engine is at; what was computed is kept and the tables are closed."""
        self._stopping.set()

    def run(self) -> dict[str, Any]:
        """Compute the poses, and close the tables.

        Returns
        -------
        dict
            JSON: `backfilled` in this call, `without_pose` still (frames of the video), `stopped`, `seconds`,
            `problems` (a sentence each), and `cameras`.

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
            self._session = load_session(self._folder)  # somebody may have ended his work on it only now
            check_tables(self._folder, self._session, network=False)  # its network comes later
            every = [self._look(name) for name in self._names()]
            cameras = [camera for camera in every if self._camera in (None, camera.name)]
            problems: list[str] = []
            missing = any(len(camera.wanted) for camera in cameras)
            if (missing or backfill_was_cut_off(self._session)) and not self._supervised:
                problems += self._look_at_manifest()
            if missing:
                self._tell("loading the network")
                engine = self._engine()
                for camera in cameras:
                    problems += self._backfill(camera, engine)
            if missing or backfill_was_cut_off(self._session):
                self._tell("writing the results")
                self._begin()
                closed = {camera.name: self._close(camera) for camera in cameras}
                others = sum(len(camera.wanted) for camera in every if camera not in cameras)
                self._end(closed, others, problems)
                if self._renewal is not None:
                    self._renewal.finish()
            else:
                closed = {camera.name: {"backfilled": 0, "without_pose": 0} for camera in cameras}
        return {
            "session": self._session["id"],
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

    def _check(self, session: dict[str, Any]) -> None:
        if session["state"] == "recording":
            raise BackfillError(
                f"{self._folder} is still recorded, or was never closed: wait until the run has ended, "
                f"or run: posestream recover {self._folder}"
            )
        if session["inference"] is None:
            raise BackfillError(f"{self._folder} was recorded without a network: there are no live poses to complete")
        here = [name for name in session["cameras"] if (self._folder / name).is_dir()]
        if self._camera is not None and self._camera not in here:
            raise BackfillError(f"{self._folder} has no camera {self._camera}; there are: {', '.join(here) or 'none'}")

    def _names(self) -> list[str]:
        """Cameras with a video on this machine."""
        cameras = self._session["cameras"].items()
        return [name for name, details in cameras if details.get("video") and (self._folder / name).is_dir()]

    def _look(self, name: str) -> _Camera:
        details, folder = self._session["cameras"][name], self._folder / name
        tables = read_camera(folder, inferred=True)
        return _Camera(
            name=name,
            folder=folder,
            video=folder / details["video"],
            info=msgspec.convert(details["stream"], StreamInfo),
            seq=tables.recorded["seq"].to_numpy(np.int64),
            times_us=tables.recorded["pts_us"].to_numpy(np.int64),
            wanted=tables.without_pose,
        )

    # The network: the one that gave the live poses, unless somebody says otherwise.

    def _engine(self) -> "Engine":
        from posestream.inference.engines import open_engine
        from posestream.inference.errors import ModelError
        from posestream.inference.formats.models import load_model

        before = self._session.get("backfill", {})
        path = self._model or self._recorded_model()
        try:
            bundle = load_model(path)
            digest, spec = bundle.digest(), bundle.spec
            self._check_model(path, digest, spec.bodyparts)
            engine = open_engine(bundle, *self._engine_of(digest))
        except ModelError as error:
            raise BackfillError(str(error)) from error
        about = {
            "state": "running",
            "model": spec.name,
            "model_path": str(path.absolute()),
            "model_sha256": digest,
            "engine": engine.name,
            "precision": engine.precision,
        }
        self._session["backfill"] = before | about
        self._begin()
        write_json(self._folder / "session.json", self._session)
        return engine

    def _engine_of(self, digest: str) -> tuple[str, str]:
        """Engine and precision: the session's own for its network; for another one what its rig asked for."""
        inference, rig = self._session["inference"], self._session["rig"]["inference"]
        if inference.get("model_sha256", digest) == digest:
            return inference.get("engine", "auto"), inference.get("precision", "auto")
        return rig.get("engine", "auto"), rig.get("precision", "auto")

    def _recorded_model(self) -> Path:
        inference, rig = self._session["inference"], self._session["rig"]["inference"]
        named = rig.get("model", "")
        if named in bundled_networks():
            return find_model(named)
        written = inference.get("model_path") or named
        # On Windows, to look at a path on another machine is to log on there.
        if written.startswith(("//", "\\\\")):
            raise BackfillError(f"the session's model {written} is on another machine; name one with --model")
        path = Path(written)
        if not path.is_absolute():
            raise BackfillError(f"session.json does not say in which folder its model {path} is; name it with --model")
        if not path.exists() and not path.with_name(f"{path.name}.index").exists():
            raise BackfillError(f"the session's model {path} is not here; name it with --model")
        return path

    def _check_model(self, path: Path, digest: str, bodyparts: tuple[str, ...]) -> None:
        inference, before = self._session["inference"], self._session.get("backfill", {})
        if self._model is None and inference.get("model_sha256", digest) != digest:
            raise BackfillError(
                f"{path} is not the network that it was when the session was recorded; "
                f"to backfill with it all the same, name it: --model {path}"
            )
        if list(bodyparts) != list(inference["model"]["bodyparts"]):
            raise BackfillError(
                f"{path} finds {', '.join(bodyparts)}; the session's poses are of "
                f"{', '.join(inference['model']['bodyparts'])}"
            )
        begun = [name for name in self._names() if read_backfilled(self._folder / name) is not None]
        if begun and before.get("model_sha256", digest) != digest:
            raise BackfillError(
                f"{path} is not the network that {begun[0]}/backfilled.csv was begun with "
                f"({before.get('model_path')}); go on with that one, or remove backfilled.csv to begin again"
            )
        check_tables(self._folder, self._session)

    # The work.

    def _backfill(self, camera: _Camera, engine: "Engine") -> list[str]:
        """Write the poses of one camera; gives what went wrong."""
        from posestream.inference.engines.guarded import sound_poses

        if not len(camera.wanted) or self._stopping.is_set():
            return []
        size = min(self._batch_size or self._session["rig"]["inference"]["batch_size"], len(camera.wanted))
        self._tell(f"camera {camera.name}: warming the network up")
        engine.prepare(camera.info.height, camera.info.width, camera.info.pixel_format, [size])
        self._session["backfill"]["precision"] = engine.precision  # which may have been chosen only now
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

    def _close(self, camera: _Camera) -> dict[str, Any]:
        tables, inference = read_camera(camera.folder, inferred=True), self._session["inference"]
        files = close_camera(
            camera.folder,
            tables,
            video=camera.video.name,
            model=inference["model"],
            info=camera.info,
            batch_size=self._session["rig"]["inference"]["batch_size"],
        )
        return {
            "backfilled": len(camera.wanted) - len(tables.without_pose),
            "without_pose": len(tables.without_pose),
            "pose_states": tables.pose_states,
            "files": files,
        }

    def _end(self, closed: dict[str, dict[str, Any]], others: int, problems: list[str]) -> None:
        missing = others + sum(camera["without_pose"] for camera in closed.values())
        about = self._session["backfill"] | {"state": "partial" if missing else "complete", "without_pose": missing}
        path, summary = self._folder / "summary.json", read_summary(self._folder)
        if summary:  # a run that was killed wrote none
            for name, camera in closed.items():
                changed = {key: camera[key] for key in ("pose_states", "files")}
                cameras = summary.setdefault("cameras", {})
                cameras[name] = cameras.get(name, {}) | changed
            write_json(path, summary | {"backfill": about | {"problems": problems}})
        write_json(self._folder / "session.json", self._session | {"backfill": about})
