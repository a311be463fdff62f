"""Gathers frames of any number of cameras into batches, and counts every frame that it lets go.

A batch is closed on the first of: it is full; its oldest frame has waited long enough; the engine is idle. So an
engine that keeps up never waits for company, and one that does not gets batches that are as full as may be.

Two modes. `freshest` keeps the newest frame of each camera alone and closes a batch only when the engine can begin
with it at once: what comes out is as young as can be. `every-frame` keeps all, up to a bound in bytes, and closes one
batch ahead while the engine is busy.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.messages import Frame
from posestream.stream.wire.settings import Mode

__all__ = ["INVALID_POSE", "Batch", "Batcher", "Cause", "Mode", "PendingFrame", "SkippedRun"]

Cause = Literal["fresher-frame", "queue-full", "lost-on-wire", "stopped", "engine-error", "invalid-pose"]
INVALID_POSE: Cause = "invalid-pose"
Closing = Literal["full", "wait", "idle"]


@dataclass(frozen=True, slots=True, eq=False)
class PendingFrame:
    """A frame that waits for the engine."""

    frame: Frame
    received_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Frames of one size to be inferred together, oldest first."""

    frames: tuple[PendingFrame, ...]
    closed_ns: int
    closing: Closing
    """Why it was closed."""


@dataclass(frozen=True, slots=True)
class SkippedRun:
    """Successive frames of a camera that get no pose, for one cause."""

    camera: str
    first_seq: int
    last_seq: int
    cause: Cause

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.last_seq - self.first_seq + 1


class Batcher:
    """Takes frames from the receiving thread and gives batches to the gathering thread.

    Parameters
    ----------
    mode
        `freshest` or `every-frame`.
    batch_size
        Frames of a full batch.
    wait_ns
        How long the oldest frame of a batch waits for others while the engine is busy, nanoseconds.
    queue_bytes
        Bytes of frames that may wait in `every-frame`; beyond, the oldest is skipped.
    clock
        Monotonic nanoseconds.
    """

    def __init__(
        self, mode: Mode, batch_size: int, wait_ns: int, queue_bytes: int, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        self._mode, self._batch_size, self._wait_ns, self._queue_bytes = mode, batch_size, wait_ns, queue_bytes
        self._clock = clock
        self._changed = threading.Condition()
        # One queue for each shape and pixel format; a dict so that they are visited in order of appearance.
        self._queues: dict[tuple[object, ...], deque[PendingFrame]] = {}
        self._waiting_bytes = 0
        self._runs: deque[SkippedRun] = deque()
        self._closed = False
        self.skipped: Counter[tuple[str, Cause]] = Counter()
        """Frames that get no pose, by camera and cause."""
        self.closings: Counter[Closing] = Counter()
        """Batches by what closed them."""

    def put(self, frame: Frame, received_ns: int) -> None:
        """Take in a frame; in `freshest` it replaces the one of the same camera that waits."""
        header = frame.header
        with self._changed:
            if self._closed:
                self._skip(header.camera, header.frame_seq, header.frame_seq, "stopped")
                return
            queue = self._queues.setdefault((frame.pixels.shape, header.pixel_format), deque())
            if self._mode == "freshest":
                for stale in [pending for pending in queue if pending.frame.header.camera == header.camera]:
                    queue.remove(stale)
                    self._let_go(stale, "fresher-frame")
            queue.append(PendingFrame(frame, received_ns))
            self._waiting_bytes += frame.pixels.nbytes
            while self._mode == "every-frame" and self._waiting_bytes > self._queue_bytes and self.waiting > 1:
                self._let_go(self._oldest().popleft(), "queue-full")
            self._changed.notify_all()

    def lost_on_wire(self, camera: str, first_seq: int, last_seq: int) -> None:
        """Note frames that were published and never arrived."""
        with self._changed:
            self._skip(camera, first_seq, last_seq, "lost-on-wire")

    def abandon(self, batch: Batch, cause: Cause = "engine-error") -> None:
        """Note the frames of a batch that the engine gave no poses for."""
        self._refuse(batch.frames, cause)

    def reject(self, frames: Iterable[PendingFrame]) -> None:
        """Note frames whose poses are not finite, or have likelihoods outside 0 to 1."""
        self._refuse(frames, INVALID_POSE)

    def _refuse(self, frames: Iterable[PendingFrame], cause: Cause) -> None:
        with self._changed:
            for pending in frames:
                header = pending.frame.header
                self._skip(header.camera, header.frame_seq, header.frame_seq, cause)

    def next(self, idle: Callable[[], bool], timeout_s: float) -> Batch | None:
        """Wait for the next batch.

        Parameters
        ----------
        idle
            Whether the engine has nothing to do now. Call `wake` when that changes.
        timeout_s
            How long to wait at most, seconds.

        Returns
        -------
        Batch or None
            None where no batch could be closed in time.
        """
        deadline = self._clock() + round(timeout_s * 1e9)
        with self._changed:
            while True:
                now = self._clock()
                closing = self._closing(idle(), now)
                if closing is not None:
                    return self._close_batch(closing, now)
                if now >= deadline:
                    return None
                until = deadline
                if self.waiting and self._mode == "every-frame":
                    until = min(until, self._oldest()[0].received_ns + self._wait_ns)
                self._changed.wait(max(until - now, 0) / 1e9)

    def _closing(self, idle: bool, now: int) -> Closing | None:
        if not self.waiting or (self._mode == "freshest" and not idle):
            return None
        if any(len(queue) >= self._batch_size for queue in self._queues.values()):
            return "full"
        if idle:
            return "idle"
        return "wait" if now - self._oldest()[0].received_ns >= self._wait_ns else None

    def _close_batch(self, closing: Closing, now: int) -> Batch:
        queue = self._oldest()
        if closing == "full" and len(queue) < self._batch_size:
            queue = next(queue for queue in self._queues.values() if len(queue) >= self._batch_size)
        frames = tuple(queue.popleft() for _ in range(min(self._batch_size, len(queue))))
        self._waiting_bytes -= sum(pending.frame.pixels.nbytes for pending in frames)
        self.closings[closing] += 1
        return Batch(frames, now, closing)

    def _oldest(self) -> deque[PendingFrame]:
        return min((queue for queue in self._queues.values() if queue), key=lambda queue: queue[0].received_ns)

    @property
    def waiting(self) -> int:
        """Frames that wait now."""
        return sum(len(queue) for queue in self._queues.values())

    def wake(self) -> None:
        """Let `next` look again whether the engine is idle."""
        with self._changed:
            self._changed.notify_all()

    def close(self, *, drain: bool) -> None:
        """Take in nothing more; what waits is still given out (`drain`) or skipped."""
        with self._changed:
            self._closed = True
            if not drain:
                while self.waiting:
                    self._let_go(self._oldest().popleft(), "stopped")
            self._changed.notify_all()

    def take_skipped(self) -> list[SkippedRun]:
        """Take the runs of skipped frames since the last call."""
        with self._changed:
            runs = list(self._runs)
            self._runs.clear()
            return runs

    def _let_go(self, pending: PendingFrame, cause: Cause) -> None:
        self._waiting_bytes -= pending.frame.pixels.nbytes
        header = pending.frame.header
        self._skip(header.camera, header.frame_seq, header.frame_seq, cause)

    def _skip(self, camera: str, first: int, last: int, cause: Cause) -> None:
        self.skipped[camera, cause] += last - first + 1
        for index, run in enumerate(self._runs):
            if run.camera == camera and run.cause == cause and run.last_seq + 1 == first:
                self._runs[index] = SkippedRun(camera, run.first_seq, last, cause)
                return
        self._runs.append(SkippedRun(camera, first, last, cause))
