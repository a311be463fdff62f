"""Decodes a video ahead of the engine, in a thread of its own."""

import queue
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from posestream.stream.video_frames import VideoFrames

__all__ = ["VideoBatches"]

AHEAD = 2
"""Batches that wait for the engine at most; the decoder waits when there are so many."""
WAIT_S = 0.1

Batch = tuple[list[int], NDArray[np.uint8]]


class VideoBatches:
    """Batches of a video's frames, decoded while the engine is at the one before.

    Parameters
    ----------
    frames
        The frames.
    batch_size
        How many make a batch; the last may be smaller.
    """

    def __init__(self, frames: VideoFrames, batch_size: int) -> None:
        self._frames, self._batch_size = frames, batch_size
        self._ahead: queue.Queue[Batch | None] = queue.Queue(maxsize=AHEAD)
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._decode, name="decoder")

    def __enter__(self) -> "VideoBatches":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def __iter__(self) -> Iterator[Batch]:
        """Give indices, and pixels uint8 (B, height, width, channels); raises what ended the decoder early."""
        while (batch := self._ahead.get()) is not None:
            yield batch
        if self._error is not None:
            raise self._error

    def _decode(self) -> None:
        indices: list[int] = []
        pixels: list[NDArray[np.uint8]] = []
        try:
            for index, picture in self._frames:
                indices.append(index)
                pixels.append(picture)
                if len(indices) == self._batch_size:
                    if not self._put((indices, np.stack(pixels))):
                        return
                    indices, pixels = [], []
            if indices:
                self._put((indices, np.stack(pixels)))
        except Exception as error:  # noqa: BLE001 - raised again where the batches are taken
            self._error = error
        self._put(None)

    def _put(self, batch: Batch | None) -> bool:
        while not self._stopping.is_set():
            try:
                self._ahead.put(batch, timeout=WAIT_S)
            except queue.Full:
                continue
            return True
        return False
