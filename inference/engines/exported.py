"""Hold an exported file against the model in float32, frame by frame, in every runtime here that reads ONNX."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engines.check import LIMIT_LIKELIHOOD, LIMIT_PX, tied_peaks
from posestream.inference.engines.openvino_graph import import_openvino
from posestream.inference.engines.tensorflow_engine import TensorFlowEngine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.stream.wire.messages import PixelFormat

__all__ = ["Proof", "prove_export"]

Frames = NDArray[np.uint8]
Poses = NDArray[np.float32]
Run = Callable[[Frames], Poses]


@dataclass(frozen=True)
class Proof:
    """How far a file's poses lie from the model's in float32, in one runtime."""

    runtime: str
    version: str
    px: tuple[float, ...]
    """Of each frame, the largest distance in pixels over the body parts whose peaks do not tie."""
    likelihood: tuple[float, ...]
    """Of each frame, the largest difference in likelihood over all body parts."""
    tied: int
    """Poses that are further off than the limit because two peaks tie."""

    @property
    def within_limits(self) -> bool:
        """Whether these are the same poses."""
        return max(self.px) <= LIMIT_PX and max(self.likelihood) <= LIMIT_LIKELIHOOD


def prove_export(
    path: Path,
    bundle: ModelBundle,
    pictures: Frames,
    pixel_format: PixelFormat,
    *,
    show: Callable[[int, int, float], None] = lambda _done, _total, _seconds: None,
) -> list[Proof]:
    """Run pictures through a file of ONNX, and through the model in float32 on TensorFlow.

    Parameters
    ----------
    path
        The file.
    bundle
        The model that it was written of.
    pictures
        uint8 RGB (N, H, W, 3).
    pixel_format
        That the file takes, to which they are brought.
    show
        Called after each frame with the frames done, all of them, and the seconds so far.

    Raises
    ------
    ModelError
        The file cannot be run.
    """
    frames = _in_format(pictures, pixel_format)
    reference = TensorFlowEngine(bundle)
    reference.prepare(frames.shape[1], frames.shape[2], pixel_format, [1])
    runtimes = list(_runtimes(path))
    expected = np.empty((len(frames), len(bundle.spec.bodyparts), 3), np.float32)
    given = [np.empty_like(expected) for _ in runtimes]
    began = time.monotonic()
    for index in range(len(frames)):
        frame = frames[index : index + 1]
        expected[index] = reference.run(frame, pixel_format)[0]
        for poses, (_, _, run) in zip(given, runtimes, strict=True):
            poses[index] = run(frame)[0]
        show(index + 1, len(frames), time.monotonic() - began)
    return [
        _proof(name, version, bundle, frames, pixel_format, poses, expected)
        for poses, (name, version, _) in zip(given, runtimes, strict=True)
    ]


def _proof(
    name: str,
    version: str,
    bundle: ModelBundle,
    frames: Frames,
    pixel_format: PixelFormat,
    poses: Poses,
    expected: Poses,
) -> Proof:
    apart = np.abs(poses.astype(np.float64) - expected)
    distance = np.hypot(apart[..., 0], apart[..., 1])
    tied = tied_peaks(bundle, frames, pixel_format, distance > LIMIT_PX)
    px = np.where(tied, 0.0, distance).max(axis=1)
    likelihood = apart[..., 2].max(axis=1)
    return Proof(name, version, tuple(map(float, px)), tuple(map(float, likelihood)), int(tied.sum()))


def _runtimes(path: Path) -> Iterator[tuple[str, str, Run]]:
    """Name, version, and what runs frames, of every runtime here."""
    openvino = import_openvino()
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise ModelError(f"{path} cannot be run by OpenVINO: {error}.") from error
    yield "OpenVINO", openvino.__version__.partition("-")[0], lambda frames: compiled(frames)[0]
    try:
        import onnxruntime
    except ImportError:
        return
    try:
        session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base of their own
        raise ModelError(f"{path} cannot be run by ONNX Runtime: {error}.") from error
    yield "ONNX Runtime", onnxruntime.__version__, lambda frames: session.run(None, {"frames": frames})[0]


def _in_format(frames: Frames, pixel_format: PixelFormat) -> Frames:
    """RGB frames in a pixel format."""
    if pixel_format == "gray8":
        import cv2

        return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])[..., None].astype(np.uint8)
    return np.ascontiguousarray(frames[..., ::-1]) if pixel_format == "bgr24" else frames
