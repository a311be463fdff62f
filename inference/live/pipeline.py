"""The way of a batch, gathered in one thread and inferred in another, and of the poses that come of it, one by one."""

import queue
import threading
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Shape
from posestream.inference.engines.guarded import GuardedEngine, sound_poses
from posestream.inference.filters.chain import FilterChain
from posestream.inference.live.batcher import Batch, Batcher, Cause
from posestream.inference.live.pose_publisher import PosePublisher
from posestream.inference.live.receiver import Receiver
from posestream.inference.pose import FramePose
from posestream.inference.windows.crop_window_run import CropWindowRun
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.plugins import AbandonedError, PluginError

__all__ = ["FINISH_S", "Pipeline"]

GATHER_S = 0.05
"""Seconds that a thread waits at a time, so that it hears of a stop."""
FINISH_S = 10.0
"""Seconds for which an engine may finish what it is at when the pipeline is closed; huge frames take minutes."""


class Pipeline:
    """The gatherer's and the engine's threads.

    The gatherer lays the next batch side by side while the engine is at the one before, so that copying in overlaps
    computing. Where windows follow the animals, the frames stay where the socket put them, and of most of them only the
    window is ever copied.

    Parameters
    ----------
    engine
        What computes.
    batcher, receiver, publisher
        Where frames come from, and where poses go.
    windows
        By frame size and pixel format, what runs the engine on crop windows; empty: whole frames.
    filters
        What poses go through; the network's own are published before, too.
    """

    def __init__(
        self,
        engine: GuardedEngine,
        batcher: Batcher,
        receiver: Receiver,
        publisher: PosePublisher,
        windows: Mapping[Shape, CropWindowRun],
        filters: FilterChain,
    ) -> None:
        self._engine, self._batcher, self._receiver, self._publisher = engine, batcher, receiver, publisher
        self._windows, self._filters = windows, filters
        self._ahead: queue.Queue[tuple[Batch, NDArray[np.uint8] | None]] = queue.Queue(maxsize=1)
        self._in_engine = 0
        self._at: Batch | None = None  # in the engine
        self._left_behind = False  # the engine's thread, which will touch nothing any more
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.frames = 0
        """Frames that went through the engine."""
        self.drained = False
        """Whether all cameras have ended and every frame has come out."""
        self.error: Exception | None = None
        """What ended a thread early."""
        self._gatherer = threading.Thread(target=self._guard, args=(self._gather,), name="gatherer")
        # A process does not wait for an engine that never returns.
        self._inferrer = threading.Thread(target=self._guard, args=(self._infer,), name="engine", daemon=True)

    def start(self) -> None:
        """Start both threads."""
        self._gatherer.start()
        self._inferrer.start()

    def look(self) -> None:
        """See whether the engine hangs, which is an `error`; to be called a few times a second."""
        if self.error is None and (text := self._engine.hang()) and self._engine.guard.abandon():
            self._left_behind, self.error = True, PluginError(text)
            self._stopping.set()

    def close(self) -> None:
        """Finish the batches that were closed and end both threads; an engine that does not return is left behind.

        That is an error where it hangs, and none where it is slower than `FINISH_S`: its frames are skipped.
        """
        self._stopping.set()
        deadline = time.monotonic() + FINISH_S
        for thread in (self._gatherer, self._inferrer):
            while thread.is_alive() and not (thread is self._inferrer and self._left_behind):
                thread.join(GATHER_S)
                self.look()
                if not self._left_behind and time.monotonic() > deadline:
                    self._left_behind = bool(self._engine.guard.abandon())
        if self._left_behind and self._at is not None:
            self._batcher.abandon(self._at, self._cause)
        while not self._ahead.empty():  # the engine failed before it came to this
            self._batcher.abandon(self._ahead.get()[0], self._cause)
        self._guard(self._flush)

    @property
    def _cause(self) -> Cause:
        """Why frames that the engine was to have get no pose."""
        return "stopped" if self.error is None else "engine-error"

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except AbandonedError:
            return
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            self.error = self.error or error
            self._stopping.set()

    def _idle(self) -> bool:
        return self._in_engine == 0

    def _gather(self) -> None:
        while not self._stopping.is_set():
            batch = self._batcher.next(self._idle, GATHER_S)
            if batch is None:
                self.drained = self._receiver.ended and not self._batcher.waiting and self._idle()
                continue
            with self._lock:
                self._in_engine += 1
            frames = None if self._windows else _side_by_side(batch)
            while not self._offer((batch, frames)):
                if self.error is not None or self._left_behind:
                    self._batcher.abandon(batch, self._cause)
                    return

    def _offer(self, item: tuple[Batch, NDArray[np.uint8] | None]) -> bool:
        try:
            self._ahead.put(item, timeout=GATHER_S)
        except queue.Full:
            return False
        return True

    def _infer(self) -> None:
        while True:
            try:
                batch, frames = self._ahead.get(timeout=GATHER_S)
            except queue.Empty:
                if self._stopping.is_set() and not self._gatherer.is_alive():
                    return
                continue
            self._at = batch
            try:
                keypoints = self._poses(batch, frames)
            except AbandonedError:
                raise
            except Exception:
                self._batcher.abandon(batch)
                raise
            inferred_ns, self._at = monotonic_ns(), None
            with self._lock:
                self._in_engine -= 1
            self._batcher.wake()
            self._hand_on(batch, keypoints, inferred_ns)
            self.frames += len(batch.frames)

    def _hand_on(self, batch: Batch, keypoints: NDArray[np.float32], inferred_ns: int) -> None:
        """Take a batch's poses apart: publish the network's own, and then what the filters make of them."""
        sound = sound_poses(keypoints)
        poses = [
            FramePose(
                frame=pending.frame.header,
                keypoints=one,
                received_ns=pending.received_ns,
                batched_ns=batch.closed_ns,
                inferred_ns=inferred_ns,
                batch_size=len(batch.frames),
            )
            for pending, one, good in zip(batch.frames, keypoints, sound, strict=True)
            if good
        ]
        for pose in poses:  # all of them before a filter sees the first: a filter that fails costs no frame its pose
            self._publisher.pose(pose)
        self._batcher.reject(pending for pending, good in zip(batch.frames, sound, strict=True) if not good)
        self._publisher.skipped(self._batcher.take_skipped())
        for pose in poses:
            for filtered in self._filters.push(pose):
                self._publisher.pose(filtered)

    def _flush(self) -> None:
        for filtered in self._filters.flush():
            self._publisher.pose(filtered)

    def _poses(self, batch: Batch, frames: NDArray[np.uint8] | None) -> NDArray[np.float32]:
        """Run the engine on the frames side by side, or on crop windows where there are none."""
        header = batch.frames[0].frame.header
        if frames is not None:
            return self._engine.run(frames, header.pixel_format)
        windows = self._windows[header.height, header.width, header.pixel_format]
        origins = [(pending.frame.header.camera, pending.frame.header.frame_seq) for pending in batch.frames]
        return windows.run([pending.frame.pixels for pending in batch.frames], header.pixel_format, origins)


def _side_by_side(batch: Batch) -> NDArray[np.uint8]:
    """Give the frames as one array; one alone needs no copy, it is a view of the memory that the socket filled."""
    first = batch.frames[0].frame.pixels
    return first[None] if len(batch.frames) == 1 else np.stack([pending.frame.pixels for pending in batch.frames])
