"""What engines that compile for each shape of frames have in common, however they compute."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Precision, Prepared, Shape
from posestream.inference.formats.bundle import ModelBundle
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["PreparedEngine"]


class PreparedEngine(ABC):
    """An engine (see `posestream.inference.engine.Engine`) that runs what it was prepared for, and refuses the rest.

    An engine says how it compiles and how it computes.

    Parameters
    ----------
    bundle
        The model.
    precision
        In which the network computes.
    """

    name: ClassVar[str]
    reason = ""

    def __init__(self, bundle: ModelBundle, precision: Precision) -> None:
        self._bundle, self._precision = bundle, precision
        self._prepared = Prepared()
        self._warm: set[tuple[Shape, int]] = set()

    @property
    def precision(self) -> Precision:
        """In which the network computes."""
        return self._precision

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names of the K body parts, in the order of the poses."""
        return self._bundle.spec.bodyparts

    def prepare(self, height: int, width: int, pixel_format: PixelFormat, batch_sizes: Iterable[int]) -> None:
        """Compile for one frame size and pixel format and warm up every batch size; see `Engine.prepare`."""
        shape = (height, width, pixel_format)
        sizes = Prepared.check(shape, batch_sizes)
        for size in sizes:
            if (shape, size) in self._warm:
                continue
            self._compile(shape, size)
            blank = np.zeros((size, height, width, CHANNELS[pixel_format]), np.uint8)
            for _ in range(2):  # the first run lays out memory and chooses kernels, the second shows that it is done
                self._infer(shape, blank)
            self._warm.add((shape, size))
        self._prepared.add(shape, sizes[-1])

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        """Estimate the poses of a batch; see `Engine.run`."""
        return self._infer(self._prepared.find(frames, pixel_format), frames)

    @abstractmethod
    def _compile(self, shape: Shape, batch_size: int) -> None:
        """Make ready to compute batches of a size, for which it is called once; raises `ModelError`."""

    @abstractmethod
    def _infer(self, shape: Shape, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Give poses (B, K, 3) of frames that it was made ready for."""
