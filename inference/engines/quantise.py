"""Make the int8 graph of a network, and hold it against float32.

Post-training quantisation by NNCF: the ranges of the activations are those of frames of the user's own video. The two
heads and the decoder stay as they are; they cost little, and logits of eight bits would make cells tie.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engines.check import shrunk
from posestream.inference.engines.openvino_engine import OpenVinoEngine
from posestream.inference.engines.openvino_graph import import_openvino, read_graph, unreported
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.stream.disk.video_files import UnreadableError, reading_video, upright

__all__ = ["Deviation", "deviation", "quantise", "spread_frames"]

Frames = NDArray[np.uint8]
HEAD_KERNELS = ("part_pred/kernel", "locref_pred/kernel")
"""Constants that lead into the heads."""


@dataclass(frozen=True)
class Deviation:
    """How far int8 lies from float32 on frames that it was not calibrated on, over all frames and body parts."""

    frames: int
    mean_px: float
    median_px: float
    p95_px: float
    max_px: float
    mean_likelihood: float
    max_likelihood: float
    speed: float
    """How many times as fast as float32, one frame at a time."""


def quantise(bundle: ModelBundle, frames: Frames) -> Any:
    """Quantise a network.

    Parameters
    ----------
    bundle
        The model, of one of our families.
    frames
        What the ranges are taken of, uint8 RGB (N, H, W, 3).

    Returns
    -------
    openvino.Model
        As `read_graph` gives, of any frame size.

    Raises
    ------
    ModelError
        NNCF is not installed, or the network cannot be converted for OpenVINO.
    """
    try:
        with unreported():
            import nncf
    except ImportError as error:
        raise ModelError(f'NNCF cannot be imported: {error}. Install it: pip install "posestream[optimize]"') from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    OpenVinoEngine.candidates(bundle)  # refuses what OpenVINO does not run
    graph = read_graph(import_openvino().Core(), bundle)
    graph.reshape([1, *frames.shape[1:]])
    with unreported(), contextlib.redirect_stdout(sys.stderr):  # its progress bars are no result
        quantised = nncf.quantize(
            graph,
            nncf.Dataset([frame[None] for frame in frames]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(frames),
            ignored_scope=nncf.IgnoredScope(names=_heads_and_decoder(graph), validate=False),
        )
    quantised.reshape([-1, -1, -1, 3])
    return quantised


def deviation(bundle: ModelBundle, frames: Frames) -> Deviation:
    """Run frames, uint8 RGB (N, H, W, 3), alternately in float32 and in the bundle's int8."""
    engines = [OpenVinoEngine(bundle, precision) for precision in ("float32", "int8")]
    for engine in engines:
        engine.prepare(frames.shape[1], frames.shape[2], "rgb24", [1])
    poses: list[list[NDArray[np.float32]]] = [[], []]
    seconds = np.zeros((2, len(frames)))
    for number in range(len(frames)):
        for which, engine in enumerate(engines):
            began = time.perf_counter()
            poses[which].append(engine.run(frames[number : number + 1]))
            seconds[which, number] = time.perf_counter() - began
    apart = np.abs(np.concatenate(poses[0]) - np.concatenate(poses[1]))
    distance, likelihood = np.hypot(apart[..., 0], apart[..., 1]), apart[..., 2]
    return Deviation(
        frames=len(frames),
        mean_px=float(distance.mean()),
        median_px=float(np.median(distance)),
        p95_px=float(np.percentile(distance, 95)),
        max_px=float(distance.max()),
        mean_likelihood=float(likelihood.mean()),
        max_likelihood=float(likelihood.max()),
        speed=float(np.median(seconds[0]) / np.median(seconds[1])),
    )


def spread_frames(video: Path, number: int, size: tuple[int, int] | None) -> Frames:
    """Read frames that are spread evenly over a video.

    Parameters
    ----------
    video
        Any video that says how long it is.
    number
        How many; fewer come of a video that has fewer.
    size
        Width and height in pixels that they are shrunk to; None: as they are.

    Returns
    -------
    NDArray[np.uint8]
        RGB (N, H, W, 3), upright.

    Raises
    ------
    ModelError
        The video cannot be read.
    """
    try:
        with reading_video(video) as (container, stream):
            found = list(_spread(container, stream, number, size))
    except UnreadableError as error:
        raise ModelError(str(error)) from error
    if len(found) < 2:
        raise ModelError(f"{video} has {len(found)} frames to choose from, or does not say how long it is.")
    return np.stack(found)


def _spread(container: Any, stream: Any, number: int, size: tuple[int, int] | None) -> Iterator[Frames]:
    start = container.start_time or 0
    seen: set[int] = set()
    for place in range(number):
        wanted = start + (container.duration or 0) * place // number
        container.seek(wanted)
        for picture in container.decode(stream):
            if picture.time is None or picture.time * 1e6 < wanted:
                continue
            if picture.pts not in seen:
                seen.add(picture.pts)
                yield shrunk(upright(picture, picture.to_ndarray(format="rgb24")), size)
            break


def _heads_and_decoder(graph: Any) -> list[str]:
    """Names of both heads' operations and of all that follow them."""
    ahead = [op for op in graph.get_ordered_ops() if op.get_friendly_name() in HEAD_KERNELS]
    found: set[str] = set()
    while ahead:
        op = ahead.pop()
        if op.get_friendly_name() not in found:
            found.add(op.get_friendly_name())
            ahead += [target.get_node() for output in op.outputs() for target in output.get_target_inputs()]
    return sorted(found)
