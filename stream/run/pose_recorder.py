"""The pose recorder's process: a subscriber that writes every pose down as it comes."""

import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from posestream.stream.disk.durable import sync_folder
from posestream.stream.disk.tables import SKIPPED_COLUMNS, TableWriter, keypoint_cells, pose_columns
from posestream.stream.disk.writer_locks import HeldFile, InUseError, writer_lock
from posestream.stream.subscribers import PoseSubscriber
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.control import Armed, Start
from posestream.stream.wire.counters import PoseRecorderCounters, PoseRows
from posestream.stream.wire.endpoints import EndpointError
from posestream.stream.wire.errors import UserError
from posestream.stream.wire.jobs import Job, PoseRecorderJob
from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import SKIPPED, Event, Pose
from posestream.stream.wire.process import parse_arguments, serve

__all__ = ["PoseRecorderRole", "main"]

HELLO_S = 10.0
READ_S = 0.1
SYNC_S = 1.0


class PoseRecordingError(UserError):
    """Poses can't be written; the text is for people."""


class PoseRecorderRole:
    """Writes `poses.csv` and `skipped.csv` of each camera: see `posestream.stream.wire.process.Role`."""

    usage_errors: tuple[type[Exception], ...] = (EndpointError, TimeoutError)
    failures: tuple[type[Exception], ...] = (PoseRecordingError,)

    def __init__(self) -> None:
        self._job: PoseRecorderJob | None = None
        self._subscriber: PoseSubscriber | None = None
        self._poses: dict[str, TableWriter] = {}
        self._skipped: dict[str, TableWriter] = {}
        self._rows: Counter[str] = Counter()
        self._synced = 0.0
        self._error: Exception | None = None
        self._locks: list[HeldFile] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def arm(self, job: Job, keys: Keys | None) -> Armed:
        """Subscribe, and wait until inference was heard."""
        if not isinstance(job, PoseRecorderJob):
            raise TypeError(f"a pose recorder was given a {type(job).__name__}")
        self._job = job
        self._subscriber = PoseSubscriber(job.endpoint, timeout_s=READ_S, keys=keys)
        try:
            self._subscriber.wait_for_hello(HELLO_S)
        except TimeoutError as error:
            raise TimeoutError(
                f"the pose recorder has heard nothing of inference at {job.endpoint} for {HELLO_S:g} s; can this "
                "machine reach that address (firewall)?"
            ) from error
        return Armed()

    def start(self, start: Start) -> None:  # noqa: ARG002 - poses come as soon as the cameras run
        """Make the files."""
        if self._job is None or self._subscriber is None or self._subscriber.hello is None:
            raise RuntimeError("started before it was armed")
        columns = pose_columns(self._subscriber.hello.bodyparts)
        try:
            for session in {Path(name).parent for name in self._job.folders.values()}:
                self._locks.append(writer_lock(session, "poses"))
            for camera, name in self._job.folders.items():
                folder = Path(name)
                folder.mkdir(parents=True, exist_ok=True)
                self._poses[camera] = TableWriter(folder / "poses.csv", columns)
                self._skipped[camera] = TableWriter(folder / "skipped.csv", SKIPPED_COLUMNS)
                for place in (folder, folder.parent):
                    sync_folder(place)
        except (OSError, InUseError) as error:
            raise PoseRecordingError(f"poses can't be recorded: {error}") from error
        self._thread = threading.Thread(target=self._write, args=(self._subscriber,), name="writer")
        self._thread.start()

    def done(self) -> bool:
        """Whether the pose stream ended; raises what ended the writing early."""
        self._check()
        if time.monotonic() - self._synced > SYNC_S:
            self._synced = time.monotonic()
            try:
                for table in self._tables:
                    table.sync()
            except OSError as error:
                raise PoseRecordingError(f"poses can't be recorded: {error}") from error
        return self._subscriber is not None and self._subscriber.ended and not self._thread_runs

    @property
    def _tables(self) -> list[TableWriter]:
        return [*self._poses.values(), *self._skipped.values()]

    @property
    def _thread_runs(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _check(self) -> None:
        if self._error is not None:
            raise PoseRecordingError(f"poses can't be recorded: {self._error}") from self._error

    # A thread of its own: a pose is written, and its arrival stamped, when it comes, whatever the supervisor says.
    def _write(self, subscriber: PoseSubscriber) -> None:
        try:
            while not subscriber.ended:
                try:
                    pose = next(subscriber)
                except TimeoutError:
                    pose = None
                except StopIteration:
                    break
                subscribed_ns = monotonic_ns()
                self._write_skipped(subscriber)
                if pose is not None:
                    self._write_pose(pose, subscribed_ns)
                elif self._stopping.is_set():
                    break
            self._write_skipped(subscriber)
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            if not isinstance(error, OSError):
                traceback.print_exception(error)
            self._error = error

    def _write_pose(self, pose: Pose, subscribed_ns: int) -> None:
        header = pose.header
        table = self._poses.get(header.camera)
        if table is None or self._job is None or header.session != self._job.session:
            return
        stamps = (
            header.captured_ns,
            header.sent_ns,
            header.received_ns,
            header.batched_ns,
            header.inferred_ns,
            header.published_ns,
            subscribed_ns,
        )
        row = (header.frame_seq, header.device_id, header.pose_seq, *stamps, header.batch_size)
        table.append((*row, *keypoint_cells(pose.keypoints)))
        self._rows[header.camera] += 1

    def _write_skipped(self, subscriber: PoseSubscriber) -> None:
        while subscriber.events:
            event = subscriber.events.popleft()
            table = self._skipped.get(event.source)
            if event.name == SKIPPED and table is not None and self._job and event.session == self._job.session:
                table.append([event.data.get(column) for column in SKIPPED_COLUMNS])

    def events(self) -> list[Event]:
        """Nothing: it has only losses of its own to tell, and they are in `counters`."""
        return []

    def counters(self) -> PoseRecorderCounters | None:
        """Give the counters, by camera."""
        if self._subscriber is None or self._job is None:
            return None
        lost = self._subscriber.lost
        return PoseRecorderCounters(
            malformed=self._subscriber.malformed.total(),
            cameras={
                camera: PoseRows(poses_recorded=self._rows[camera], poses_lost=lost[camera])
                for camera in self._job.folders
            },
        )

    def stop(self) -> None:
        """Write what has come until now and close the files."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        try:
            for table in self._tables:
                table.close()
        except OSError as error:
            self._error = self._error or error
        for lock in self._locks:
            lock.release()
        if self._subscriber is not None:
            self._subscriber.close()
        self._check()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a pose recorder; gives its exit status."""
    given = parse_arguments("poses", arguments)
    return serve(PoseRecorderRole(), "poses", given.control, given.keys)
