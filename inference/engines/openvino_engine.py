"""The engine on OpenVINO: the fastest on processors, in float32, bfloat16, and int8 where a model was optimised.

One frame at a time or a batch, one request is at work: it already takes all cores. A second one in flight brought
nothing (docs/decisions/0013), and copying in is overlapped by the pipeline's own threads.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Precision, Shape
from posestream.inference.engines.int8 import read_int8
from posestream.inference.engines.openvino_graph import fixed, import_openvino, read_graph
from posestream.inference.engines.parts import run_parts
from posestream.inference.engines.prepared import PreparedEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle

__all__ = ["OpenVinoEngine"]

DEVICE = "CPU"
HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}
"""What is computed in where the graph does not say int8."""
CAPABILITIES: dict[Precision, str] = {"bfloat16": "BF16", "float16": "FP16"}
"""What OpenVINO calls a precision that the processor has instructions for."""


class OpenVinoEngine(PreparedEngine):
    """Runs the network in OpenVINO on the processor.

    Every batch size that is prepared is compiled for itself; a batch of another size is run in parts of these sizes.
    The interpreter lock is free while the network computes.

    Parameters
    ----------
    bundle
        The model.
    precision
        In which the network computes; the decoder is always float32.
    threads
        Cores to use; all of them where not given.

    Raises
    ------
    ModelError
        OpenVINO is not installed, or cannot run this model, or not in this precision on this machine.
    """

    name = "openvino"

    def __init__(self, bundle: ModelBundle, precision: Precision = "float32", threads: int | None = None) -> None:
        super().__init__(bundle, precision)
        self._ov = import_openvino()
        _refuse(bundle)
        self._core = self._ov.Core()
        needed = CAPABILITIES.get(precision)
        if needed and needed not in self._core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
            name = self._core.get_property(DEVICE, "FULL_DEVICE_NAME")
            raise ModelError(f"This processor ({name}) has no {precision}. Choose float32, or auto.")
        if precision == "int8":
            read_int8(self._core, bundle)  # refuses a model without one now, not when frames come
        self._config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = threads
        self._requests: dict[Shape, dict[int, Any]] = {}

    @staticmethod
    def candidates(bundle: ModelBundle) -> tuple[Precision, ...]:
        """Precisions that `auto` times here: bfloat16 where the processor has it, and float32."""
        _refuse(bundle)
        capabilities = import_openvino().Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        return ("bfloat16", "float32") if "BF16" in capabilities else ("float32",)

    def _compile(self, shape: Shape, batch_size: int) -> None:
        read = read_int8 if self._precision == "int8" else read_graph
        graph = fixed(read(self._core, self._bundle), batch_size, *shape)
        try:
            request = self._core.compile_model(graph, DEVICE, self._config).create_infer_request()
        except RuntimeError as error:
            raise ModelError(f"{self._bundle.spec.name} cannot be compiled by OpenVINO: {error}.") from error
        self._requests.setdefault(shape, {})[batch_size] = request

    def _infer(self, shape: Shape, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        requests = self._requests[shape]

        def infer(part: NDArray[np.uint8]) -> NDArray[np.float32]:
            request = requests[len(part)]
            request.set_input_tensor(self._ov.Tensor(_writeable(part), shared_memory=True))
            request.infer()
            poses: NDArray[np.float32] = request.get_output_tensor().data
            return poses

        return run_parts(frames, requests, len(self.bodyparts), infer)


def _refuse(bundle: ModelBundle) -> None:
    if bundle.graph:
        raise ModelError(
            f"{bundle.spec.name} is a {bundle.spec.net_type}, which runs as the graph that DeepLabCut exported, and "
            "only on TensorFlow. Choose the engine tensorflow, or auto."
        )
    if bundle.spec.norm == "group":
        raise ModelError(
            f"{bundle.spec.name} has group norm, which OpenVINO runs more slowly than TensorFlow. Choose the engine "
            "tensorflow, or auto."
        )


def _writeable(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the same memory as an array that may be written to.

    OpenVINO lends only such memory without a copy, but writes to no input; what a socket filled is read-only.
    """
    if frames.flags.writeable:
        return frames
    memory = (ctypes.c_uint8 * frames.nbytes).from_address(frames.ctypes.data)
    return np.frombuffer(memoryview(memory), np.uint8).reshape(frames.shape)
