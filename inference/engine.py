"""Engines run a network; this is their protocol, and what they have in common.

`engines` opens them by name, or chooses; `engines/prepared.py` is a base for those that compile for each shape.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.stream.wire.messages import CHANNELS, PixelFormat
from posestream.stream.wire.settings import Precision

__all__ = ["Engine", "Precision", "Prepared", "Shape"]

Shape = tuple[int, int, PixelFormat]
"""Height and width in pixels, and pixel format."""


@runtime_checkable
class Engine(Protocol):
    """What the batcher and the offline analysis ask of an engine.

    Shapes are prepared before frames come, so that no frame waits while something is compiled. What was not prepared
    is refused rather than compiled in passing. Calls come from one thread at a time, not always the same.
    """

    @property
    def name(self) -> str:
        """For people and files, for example `tensorflow`."""

    @property
    def precision(self) -> Precision:
        """In which the network computes."""

    @property
    def reason(self) -> str:
        """One line for people: why it is this engine in this precision; empty where somebody asked for it."""

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names of the K body parts, in the order of the poses."""

    def prepare(self, height: int, width: int, pixel_format: PixelFormat, batch_sizes: Iterable[int]) -> None:
        """Compile for frames of `height` x `width` pixels in batches up to the largest size; warm up these sizes.

        May be called again for further shapes, but not while `run` is under way.

        Raises
        ------
        ModelError
            The engine cannot run such frames.
        """

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        """Estimate the poses of a batch.

        Parameters
        ----------
        frames
            uint8 (B, H, W, C), C being 1 or 3; may be read-only and need not own its memory. It is not kept.
        pixel_format
            Needed only where frames of this size were prepared as both `rgb24` and `bgr24`.

        Returns
        -------
        NDArray[np.float32]
            (B, K, 3), all finite: x and y in pixels, likelihood 0 to 1. A pose that is not so is kept out of the stream
            and the tables, and counted (`invalid-pose`).

        Raises
        ------
        ModelError
            The frames are not uint8 (B, H, W, C), or such frames, or so many, were not prepared.
        """


class Prepared:
    """What an engine was prepared for, and which of it a batch is."""

    def __init__(self) -> None:
        self._largest_batch: dict[Shape, int] = {}

    @staticmethod
    def check(shape: Shape, batch_sizes: Iterable[int]) -> list[int]:
        """Give the batch sizes in order, each once.

        Raises
        ------
        ModelError
            No engine can run such frames.
        """
        height, width, pixel_format = shape
        sizes = sorted(set(batch_sizes))
        if pixel_format not in CHANNELS:
            raise ModelError(f"The network takes {', '.join(CHANNELS)}, not {pixel_format}.")
        if height < 1 or width < 1 or not sizes or sizes[0] < 1:
            raise ModelError(f"Frames of {width}x{height} pixels in batches of {sizes or 'no size'} cannot be run.")
        return sizes

    def add(self, shape: Shape, largest_batch: int) -> None:
        """Note what is ready."""
        self._largest_batch[shape] = max(largest_batch, self._largest_batch.get(shape, 0))

    def find(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None) -> Shape:
        """Give the prepared shape of a batch; parameters and errors are those of `Engine.run`."""
        if frames.ndim != 4 or frames.dtype != np.uint8:
            raise ModelError(f"Frames must be uint8 (B, H, W, C), not {frames.dtype} {frames.shape}.")
        batch, height, width, channels = frames.shape
        shapes = [
            shape
            for shape, largest in self._largest_batch.items()
            if shape[:2] == (height, width)
            and CHANNELS[shape[2]] == channels
            and 1 <= batch <= largest
            and pixel_format in (None, shape[2])
        ]
        if len(shapes) == 1:
            return shapes[0]
        what = f"{batch} frames of {width}x{height} pixels with {channels} channels"
        if shapes:
            raise ModelError(f"{what} were prepared as rgb24 and as bgr24. Say which these are.")
        raise ModelError(f"{what} ({pixel_format or 'any format'}) were not prepared. Call prepare for them first.")
