"""Engines run a network; this is their protocol, and the reference for all of them: TensorFlow."""

import logging
import os
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from posestream.inference.bundle import ModelBundle
from posestream.inference.errors import ModelError
from posestream.inference.network import Precision, build_network
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["Engine", "TensorFlowEngine"]

_log = logging.getLogger(__name__)


@runtime_checkable
class Engine(Protocol):
    """What the batcher and the offline analysis ask of an engine.

    Shapes are prepared before frames come, so that no frame waits while something is compiled. What was not prepared
    is refused rather than compiled in passing.
    """

    @property
    def name(self) -> str:
        """For people and files, for example `tensorflow`."""

    @property
    def precision(self) -> Precision:
        """In which the network computes."""

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
            (B, K, 3): x and y in pixels, likelihood 0 to 1.

        Raises
        ------
        ModelError
            The frames are not uint8 (B, H, W, C), or such frames, or so many, were not prepared.
        """


class TensorFlowEngine:
    """Runs the network in TensorFlow, on a GPU where TensorFlow sees one; the reference in float32.

    The interpreter lock is free while the network computes.

    Parameters
    ----------
    bundle
        The model.
    precision
        In which the ResNet computes.
    threads
        Cores that one operation may use; TensorFlow decides where not given. It holds for the whole process, and only
        the first engine of a process can set it.

    Raises
    ------
    ModelError
        TensorFlow is not installed, or Keras already runs on another backend in this process.
    """

    name = "tensorflow"

    def __init__(self, bundle: ModelBundle, precision: Precision = "float32", threads: int | None = None) -> None:
        self._bundle = bundle
        self._precision: Precision = precision
        self._tf = _start_tensorflow(threads)
        self._networks: dict[PixelFormat, Any] = {}
        self._functions: dict[tuple[int, int, PixelFormat], Any] = {}
        self._largest_batch: dict[tuple[int, int, PixelFormat], int] = {}

    @property
    def precision(self) -> Precision:
        """In which the ResNet computes."""
        return self._precision

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names of the K body parts, in the order of the poses."""
        return self._bundle.spec.bodyparts

    def prepare(self, height: int, width: int, pixel_format: PixelFormat, batch_sizes: Iterable[int]) -> None:
        """Compile for one frame size and pixel format and warm up every batch size; see `Engine.prepare`."""
        sizes = sorted(set(batch_sizes))
        if pixel_format not in CHANNELS:
            raise ModelError(f"The network takes {', '.join(CHANNELS)}, not {pixel_format}.")
        if height < 1 or width < 1 or not sizes or sizes[0] < 1:
            raise ModelError(f"Frames of {width}x{height} pixels in batches of {sizes or 'no size'} cannot be run.")
        key = (height, width, pixel_format)
        if key not in self._functions:
            if pixel_format not in self._networks:
                self._networks[pixel_format] = build_network(
                    self._bundle, pixel_format=pixel_format, precision=self._precision
                )
            self._functions[key] = self._compile(*key)
        for size in sizes:
            blank = self._tf.zeros((size, height, width, CHANNELS[pixel_format]), dtype="uint8")
            for _ in range(2):  # the first run lays out memory and chooses kernels, the second shows that it is done
                self._functions[key](blank)
        self._largest_batch[key] = max(sizes[-1], self._largest_batch.get(key, 0))

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        """Estimate the poses of a batch; see `Engine.run`."""
        if frames.ndim != 4 or frames.dtype != np.uint8:
            raise ModelError(f"Frames must be uint8 (B, H, W, C), not {frames.dtype} {frames.shape}.")
        batch, height, width, channels = frames.shape
        keys = [
            key
            for key, largest in self._largest_batch.items()
            if key[:2] == (height, width)
            and CHANNELS[key[2]] == channels
            and 1 <= batch <= largest
            and pixel_format in (None, key[2])
        ]
        if len(keys) != 1:
            what = f"{batch} frames of {width}x{height} pixels with {channels} channels"
            if keys:
                raise ModelError(f"{what} were prepared as rgb24 and as bgr24. Say which these are.")
            raise ModelError(f"{what} ({pixel_format or 'any format'}) were not prepared. Call prepare for them first.")
        # Asked for as a copy: TensorFlow's own memory goes back to its pool, and the caller may write into the poses.
        return np.array(self._functions[keys[0]](self._tf.convert_to_tensor(frames)), dtype=np.float32)

    def _compile(self, height: int, width: int, pixel_format: PixelFormat) -> Any:
        """Make a function of a fixed frame size and a free batch dimension.

        Neither XLA (`jit_compile`) nor weights frozen into the graph were reliably faster than this on a CPU.
        """
        tf = self._tf
        network = self._networks[pixel_format]
        signature = tf.TensorSpec((None, height, width, CHANNELS[pixel_format]), tf.uint8, name="frames")
        return tf.function(lambda frames: network(frames, training=False), input_signature=[signature])


def _start_tensorflow(threads: int | None) -> Any:
    """Import TensorFlow and Keras with the settings that must be made before their import or first use."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its greeting would stand above every answer of ours
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import keras
        import tensorflow as tf
    except ImportError as error:
        raise ModelError(
            f"TensorFlow cannot be imported: {error}. Install posestream again in this environment."
        ) from error
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"Keras runs on {keras.backend.backend()} in this process, but this engine needs TensorFlow. "
            "Unset KERAS_BACKEND, or choose another engine."
        )
    try:
        if threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        for device in tf.config.list_physical_devices("GPU"):
            # else TensorFlow takes all of the GPU's memory, and a second process finds none
            tf.config.experimental.set_memory_growth(device, True)
    except RuntimeError as error:
        _log.warning("TensorFlow runs already in this process and keeps its settings: %s", error)
    return tf
