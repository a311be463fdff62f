"""The way of a batch: gathered in one thread, inferred and published in another."""

import queue
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from posestream.inference.batcher import Batch, Batcher
from posestream.inference.engine import Engine
from posestream.inference.pose_publisher import PosePublisher
from posestream.inference.receiver import Receiver
from posestream.stream.wire.clock import monotonic_ns

__all__ = ["Pipeline"]

GATHER_S = 0.05
"""Seconds that a thread waits at a time, so that it hears of a stop."""


class Pipeline:
    """The gatherer's and the engine's threads.

    The gatherer lays the next batch side by side while the engine is at the one before, so that copying in overlaps
    computing.
    """

    def __init__(self, engine: Engine, batcher: Batcher, receiver: Receiver, publisher: PosePublisher) -> None:
        self._engine, self._batcher, self._receiver, self._publisher = engine, batcher, receiver, publisher
        self._ahead: queue.Queue[tuple[Batch, NDArray[np.uint8]]] = queue.Queue(maxsize=1)
        self._in_engine = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.frames = 0
        """Frames that went through the engine."""
        self.drained = False
        """Whether all cameras have ended and every frame has come out."""
        self.error: Exception | None = None
        """What ended a thread early."""
        self._gatherer = threading.Thread(target=self._guard, args=(self._gather,), name="gatherer")
        self._inferrer = threading.Thread(target=self._guard, args=(self._infer,), name="engine")

    def start(self) -> None:
        """Start both threads."""
        self._gatherer.start()
        self._inferrer.start()

    def close(self) -> None:
        """Finish the batches that were closed and end both threads."""
        self._stopping.set()
        for thread in (self._gatherer, self._inferrer):
            if thread.ident is not None:
                thread.join()
        while not self._ahead.empty():  # the engine failed before it came to this
            self._batcher.abandon(self._ahead.get()[0])

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            self.error = error
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
            first = batch.frames[0].frame.pixels
            # A batch of one needs no copy: it is a view of the memory that the socket filled.
            frames = first[None] if len(batch.frames) == 1 else np.stack([w.frame.pixels for w in batch.frames])
            while not self._offer((batch, frames)):
                if self.error is not None:
                    self._batcher.abandon(batch)
                    return

    def _offer(self, item: tuple[Batch, NDArray[np.uint8]]) -> bool:
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
            try:
                keypoints = self._engine.run(frames, batch.frames[0].frame.header.pixel_format)
            except Exception:
                self._batcher.abandon(batch)
                raise
            inferred_ns = monotonic_ns()
            with self._lock:
                self._in_engine -= 1
            self._batcher.wake()
            self._publisher.poses(batch, keypoints, inferred_ns)
            self._publisher.skipped(self._batcher.take_skipped())
            self.frames += len(batch.frames)
