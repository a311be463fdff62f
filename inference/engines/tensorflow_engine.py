"""The engine on TensorFlow: the reference for all others, and the one for GPUs."""

import logging
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Precision, Shape
from posestream.inference.engines.prepared import PreparedEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.networks.network import build_network
from posestream.inference.quiet import import_keras, import_tensorflow
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["TensorFlowEngine", "start_tensorflow", "tensorflow_gpus"]

_log = logging.getLogger(__name__)


class TensorFlowEngine(PreparedEngine):
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

    def __init__(self, bundle: ModelBundle, precision: Precision = "float32", threads: int | None = None) -> None:
        if precision == "int8":
            raise ModelError(f"{bundle.spec.name} cannot run in int8 on TensorFlow, but on OpenVINO: engine openvino.")
        super().__init__(bundle, precision)
        self._network_precision = precision
        self._tf = start_tensorflow(threads)
        self._networks: dict[PixelFormat, Any] = {}
        self._functions: dict[Shape, Any] = {}

    @staticmethod
    def candidates(bundle: ModelBundle) -> tuple[Precision, ...]:
        """Precisions that `auto` times here: bfloat16 on a GPU; on a processor OpenVINO's is faster."""
        return ("bfloat16", "float32") if tensorflow_gpus() and not bundle.graph else ("float32",)

    def _compile(self, shape: Shape, batch_size: int) -> None:  # noqa: ARG002 - the batch dimension stays free
        """Make a function of a fixed frame size.

        Neither XLA (`jit_compile`) nor weights frozen into the graph were reliably faster than this on a CPU.
        """
        if shape in self._functions:
            return
        height, width, pixel_format = shape
        if pixel_format not in self._networks:
            self._networks[pixel_format] = build_network(
                self._bundle, pixel_format=pixel_format, precision=self._network_precision
            )
        tf, network = self._tf, self._networks[pixel_format]
        signature = tf.TensorSpec((None, height, width, CHANNELS[pixel_format]), tf.uint8, name="frames")
        self._functions[shape] = tf.function(
            lambda frames: network(frames, training=False), input_signature=[signature]
        )

    def _infer(self, shape: Shape, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        # Asked for as a copy: TensorFlow's own memory goes back to its pool, and the caller may write into the poses.
        return np.array(self._functions[shape](self._tf.convert_to_tensor(frames)), dtype=np.float32)


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
