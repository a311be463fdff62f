"""Decodes a video ahead of the engine, in a thread of its own."""

import queue
import threading
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["VideoBatches"]

SLOTS = 3
"""Batches in memory: one at the engine, one that waits for it, one that is filled; the decoder waits for a free one."""

Batch = tuple[list[int], NDArray[np.uint8]]


class VideoBatches:
    """Batches of a video's frames, decoded while the engine is at the one before.

    Parameters
    ----------
    frames
        Number and pixels, uint8 (height, width, channels), of each frame. The pixels are copied.
    batch_size
        How many make a batch; the last, and one before a frame of another shape, may be smaller.
    """

    def __init__(self, frames: Iterable[tuple[int, NDArray[np.uint8]]], batch_size: int) -> None:
        self._frames, self._batch_size = frames, batch_size
        self._slots: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * SLOTS
        self._free: queue.Queue[int | None] = queue.Queue()
        for slot in range(SLOTS):
            self._free.put(slot)
        self._ahead: queue.Queue[tuple[int, list[int]] | None] = queue.Queue()  # no more than there are slots
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._decode, name="decoder")

    def __enter__(self) -> "VideoBatches":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._free.put(None)
        self._thread.join()

    def __iter__(self) -> Iterator[Batch]:
        """Give numbers, and pixels uint8 (B, height, width, channels); raises what ended the decoder early.

        The pixels hold until the next batch is asked for.
        """
        while (batch := self._ahead.get()) is not None:
            slot, numbers = batch
            yield numbers, self._slots[slot][: len(numbers)]
            self._free.put(slot)
        if self._error is not None:
            raise self._error

    def _decode(self) -> None:
        try:
            self._fill()
        except BaseException as error:  # noqa: BLE001 - raised again where the batches are taken
            self._error = error
        self._ahead.put(None)

    def _fill(self) -> None:
        slot: int | None = None
        numbers: list[int] = []
        for number, pixels in self._frames:
            if slot is not None and pixels.shape != self._slots[slot].shape[1:]:
                self._ahead.put((slot, numbers))
                slot = None
            if slot is None:
                slot, numbers = self._free.get(), []
                if slot is None or self._stopping.is_set():
                    return
                if self._slots[slot].shape[1:] != pixels.shape:
                    self._slots[slot] = np.empty((self._batch_size, *pixels.shape), np.uint8)
            self._slots[slot][len(numbers)] = pixels
            numbers.append(number)
            if len(numbers) == self._batch_size:
                self._ahead.put((slot, numbers))
                slot = None
        if slot is not None:
            self._ahead.put((slot, numbers))
