"""The engine on TensorFlow: the reference for all others, and the one for GPUs."""

import logging
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Precision, Prepared, Shape
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.networks.network import build_network
from posestream.inference.quiet import import_keras, import_tensorflow
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["TensorFlowEngine", "start_tensorflow", "tensorflow_gpus"]

_log = logging.getLogger(__name__)


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
        It has no such precision, TensorFlow is not installed, or Keras already runs on another backend in this process.
    """

    name = "tensorflow"
    reason = ""

    def __init__(self, bundle: ModelBundle, precision: Precision = "float32", threads: int | None = None) -> None:
        if precision == "int8":
            raise ModelError(f"{bundle.spec.name} cannot run in int8 on TensorFlow, but on OpenVINO: engine openvino.")
        self._bundle = bundle
        self._precision = precision
        self._tf = start_tensorflow(threads)
        self._networks: dict[PixelFormat, Any] = {}
        self._functions: dict[Shape, Any] = {}
        self._prepared = Prepared()

    @staticmethod
    def candidates(bundle: ModelBundle) -> tuple[Precision, ...]:
        """Precisions that `auto` times here: bfloat16 on a GPU; on a processor OpenVINO's is faster."""
        return ("bfloat16", "float32") if tensorflow_gpus() and not bundle.graph else ("float32",)

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
        key = (height, width, pixel_format)
        sizes = Prepared.check(key, batch_sizes)
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
        self._prepared.add(key, sizes[-1])

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        """Estimate the poses of a batch; see `Engine.run`."""
        shape = self._prepared.find(frames, pixel_format)
        # Asked for as a copy: TensorFlow's own memory goes back to its pool, and the caller may write into the poses.
        return np.array(self._functions[shape](self._tf.convert_to_tensor(frames)), dtype=np.float32)

    def _compile(self, height: int, width: int, pixel_format: PixelFormat) -> Any:
        """Make a function of a fixed frame size and a free batch dimension.

        Neither XLA (`jit_compile`) nor weights frozen into the graph were reliably faster than this on a CPU.
        """
        tf = self._tf
        network = self._networks[pixel_format]
        signature = tf.TensorSpec((None, height, width, CHANNELS[pixel_format]), tf.uint8, name="frames")
        return tf.function(lambda frames: network(frames, training=False), input_signature=[signature])


def start_tensorflow(threads: int | None) -> Any:
    """Import TensorFlow and Keras with the settings that must be made before their import or first use."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        keras, tf = import_keras(), import_tensorflow()
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


def tensorflow_gpus() -> tuple[str, ...]:
    """Names of the GPUs that TensorFlow computes on; TensorFlow is imported to ask.

    Raises
    ------
    ModelError
        TensorFlow is not installed.
    """
    tf = start_tensorflow(None)
    details = tf.config.experimental.get_device_details
    return tuple(str(details(gpu).get("device_name", gpu.name)) for gpu in tf.config.list_physical_devices("GPU"))
