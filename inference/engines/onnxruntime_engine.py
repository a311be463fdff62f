"""The engine on ONNX Runtime: the way to a GPU under Windows and on Apple's machines, without TensorFlow.

Which hardware it reaches is a matter of which of its packages is installed (extras `onnxruntime`, `onnxruntime-gpu`,
`onnxruntime-directml`); of what a package brings, the fastest *provider* that works here is taken.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Precision, Shape
from posestream.inference.engines.parts import run_parts
from posestream.inference.engines.prepared import PreparedEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.cache import cache_folder
from posestream.inference.networks.onnx_graph import INPUT, OUTPUT, onnx_graph
from posestream.stream.wire.messages import PixelFormat

__all__ = ["OnnxRuntimeEngine"]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
DIRECTML, COREML = "DmlExecutionProvider", "CoreMLExecutionProvider"
PROVIDERS = {TENSORRT: "TensorRT", CUDA: "CUDA", DIRECTML: "DirectML", COREML: "CoreML", CPU: "the processor"}
"""What is tried, in this order, and its name for people."""
FIXED = (TENSORRT, DIRECTML, COREML)
"""These want to know the size of what they run; for the others one session serves all sizes."""
ANY = 0
"""In the place of a batch size: a session that takes every size."""
ERRORS_ONLY = 3
"""Level of its log."""


class OnnxRuntimeEngine(PreparedEngine):
    """Runs the network in ONNX Runtime.

    The interpreter lock is free while the network computes.

    Parameters
    ----------
    bundle
        The model.
    precision
        float32, or float16; pixels are normalised, and heads and decoder computed, in float32 in any case.
    threads
        Cores that a processor's provider may use; all of them where not given.

    Raises
    ------
    ModelError
        ONNX Runtime is not installed, or cannot run this model in this precision.
    """

    name = "onnxruntime"

    def __init__(self, bundle: ModelBundle, precision: Precision = "float32", threads: int | None = None) -> None:
        super().__init__(bundle, precision)
        self._ort = _import_onnxruntime()
        _refuse(bundle)
        if precision not in ("float32", "float16"):
            raise ModelError(f"ONNX Runtime runs {bundle.spec.name} in float32 or float16, not in {precision}.")
        self._threads = threads
        self._wanted = _providers(self._ort, precision)
        self._sessions: dict[Shape | PixelFormat, dict[int, Any]] = {}

    @staticmethod
    def candidates(bundle: ModelBundle) -> tuple[Precision, ...]:
        """Precisions that `auto` times here: float16 on a GPU, and float32."""
        _refuse(bundle)
        on_gpu = _providers(_import_onnxruntime(), "float16")[0] != CPU
        return ("float16", "float32") if on_gpu else ("float32",)

    @property
    def device(self) -> str:
        """What it runs on, for people: a provider."""
        return PROVIDERS[self._wanted[0]]

    def _compile(self, shape: Shape, batch_size: int) -> None:
        height, width, pixel_format = shape
        fixed = {"batch": batch_size, "height": height, "width": width} if self._wanted[0] in FIXED else {}
        sessions = self._sessions.setdefault(shape if fixed else pixel_format, {})
        try:
            if fixed or not sessions:
                sessions[fixed.get("batch", ANY)] = self._session(pixel_format, fixed)
        except Exception as error:  # its errors have no base of their own
            raise ModelError(f"ONNX Runtime on {self.device} cannot load {self._bundle.spec.name}: {error}.") from error

    def _infer(self, shape: Shape, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        sessions = self._sessions.get(shape) or self._sessions[shape[2]]
        sizes = (len(frames),) if ANY in sessions else sessions

        def infer(part: NDArray[np.uint8]) -> NDArray[np.float32]:
            session = sessions[ANY if ANY in sessions else len(part)]
            poses: NDArray[np.float32] = session.run([OUTPUT], {INPUT: part})[0]
            return poses

        try:
            return run_parts(frames, sizes, len(self.bodyparts), infer)
        except Exception as error:
            raise ModelError(f"ONNX Runtime on {self.device} cannot run {self._bundle.spec.name}: {error}.") from error

    def _session(self, pixel_format: PixelFormat, fixed: dict[str, int]) -> Any:
        """Make a session; what its providers turn out to be is what the engine says from now on."""
        options = self._ort.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        # A thread that waits for work by turning takes a core from the cameras between two frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._wanted[0] == DIRECTML:
            options.enable_mem_pattern = False  # which it does not know
        for name, size in fixed.items():
            options.add_free_dimension_override_by_name(name, size)
        graph = onnx_graph(self._bundle, pixel_format, half=self._precision == "float16")
        providers = [(name, _settings(name)) for name in self._wanted]
        session = self._ort.InferenceSession(graph.SerializeToString(), options, providers=providers)
        # One that lacks a library of its maker's gives way to the next by itself.
        self._wanted = [name for name in self._wanted if name in session.get_providers()]
        return session


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f'ONNX Runtime cannot be imported: {error}. Install it: pip install "posestream[onnxruntime]", or '
            "[onnxruntime-gpu] for NVIDIA's GPUs, or [onnxruntime-directml] for any GPU under Windows."
        ) from error
    onnxruntime.disable_telemetry_events()  # its packages for Windows report to their maker
    return onnxruntime


def _providers(ort: Any, precision: Precision) -> list[str]:
    """Names of the providers to use here, the fastest first, the processor's last."""
    if hasattr(ort, "preload_dlls") and CUDA in ort.get_available_providers():
        ort.preload_dlls()  # of NVIDIA's packages, where they were installed by pip
    found = [name for name in PROVIDERS if name in ort.get_available_providers()]
    # The package for NVIDIA brings TensorRT's provider, but not TensorRT. In float32 it would round as TF32 does.
    if TENSORRT in found and (precision != "float16" or find_spec("tensorrt") is None):
        found.remove(TENSORRT)
    return found


def _settings(provider: str) -> dict[str, str]:
    """Give a provider's settings."""
    if provider == CUDA:
        return {"use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    if provider == TENSORRT:  # it compiles for minutes, once
        folder = str(cache_folder("tensorrt"))
        return {"trt_fp16_enable": "1", "trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
    if provider == COREML:
        return {"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"}
    return {}


def _refuse(bundle: ModelBundle) -> None:
    if bundle.graph:
        raise ModelError(
            f"{bundle.spec.name} is a {bundle.spec.net_type}, which runs as the graph that DeepLabCut exported, and "
            "only on TensorFlow. Choose the engine tensorflow, or auto."
        )
