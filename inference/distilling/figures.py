"""How far a student is from its teacher, and how fast both are here."""

import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.distilling.teacher import SURE, Poses
from posestream.inference.engine import Engine, Precision
from posestream.inference.engines import engine_class, open_engine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle

__all__ = ["Distance", "LabelErrors", "Speed", "distance", "frame_by_frame", "speeds"]

WITHIN_PX = (1, 2, 5)
TIMED_S = 3.0
"""Seconds, about, that each network is timed for in each precision."""
FEWEST_TIMED, MOST_TIMED = 5, 40

Pixels = NDArray[np.uint8]


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """How far a student's poses lie from its teacher's, where the teacher is sure; pixels of the video."""

    frames: int
    places: int
    """Body parts that were compared, in all frames together."""
    median_px: float
    p95_px: float
    max_px: float
    within: dict[str, float]
    """Share of the places within so many pixels, 0 to 1."""


class LabelErrors(msgspec.Struct, frozen=True, kw_only=True):
    """How far poses lie from labels, in pixels of the labelled pictures."""

    factor: float
    """By which the pictures were scaled before the network saw them."""
    labels: int
    rmse_px: float
    median_px: float
    parts: dict[str, float]
    """Root of the mean square distance of each body part that is labelled."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Of a network, one frame at a time."""

    network: str
    """`teacher` or `student`."""
    engine: str
    precision: str
    median_ms: float
    p99_ms: float


def distance(student: Poses, teacher: Poses) -> tuple[Distance, NDArray[np.float64]]:
    """Compare poses (N, K, 3).

    Returns
    -------
    tuple
        The figures, and of each frame the largest distance, (N,), -1 where the teacher is sure of nothing.

    Raises
    ------
    ModelError
        The teacher is sure of nothing at all.
    """
    apart = np.hypot(student[..., 0] - teacher[..., 0], student[..., 1] - teacher[..., 1]).astype(np.float64)
    sure = teacher[..., 2] >= SURE
    if not sure.any():
        raise ModelError("The teacher is sure of no body part in the frames that were kept apart. Name other videos.")
    found = apart[sure]
    figures = Distance(
        frames=int(sure.any(axis=1).sum()),
        places=int(sure.sum()),
        median_px=float(np.median(found)),
        p95_px=float(np.percentile(found, 95)),
        max_px=float(found.max()),
        within={str(limit): float((found <= limit).mean()) for limit in WITHIN_PX},
    )
    return figures, np.where(sure, apart, -1.0).max(axis=1)


def frame_by_frame(engine: Engine) -> Callable[[Pixels], Poses]:
    """Give a function from pictures uint8 (B, H, W, C) of any size to poses (B, K, 3)."""
    prepared: set[tuple[int, ...]] = set()

    def predict(pictures: Pixels) -> Poses:
        height, width, channels = pictures.shape[1:]
        if pictures.shape[1:] not in prepared:
            engine.prepare(height, width, "gray8" if channels == 1 else "rgb24", [1])
            prepared.add(pictures.shape[1:])
        return np.concatenate([engine.run(np.ascontiguousarray(picture)[None]) for picture in pictures])

    return predict


def speeds(teacher: ModelBundle, student: ModelBundle, pictures: Sequence[Pixels], *, int8: bool) -> list[Speed]:
    """Time both networks in each precision that this machine runs them in, alternating, one frame at a time.

    Parameters
    ----------
    teacher, student
        The networks.
    pictures
        Grey, uint8 (H, W), of one size.
    int8
        Whether the student has an int8 graph.
    """
    height, width = pictures[0].shape
    engines: dict[tuple[str, str, str], Engine] = {}
    for network, bundle in (("teacher", teacher), ("student", student)):
        for name, precision in _ways(bundle, int8=int8 and network == "student"):
            engine: Engine = open_engine(bundle, name, precision)
            engine.prepare(height, width, "gray8", [1])
            engines[network, name, precision] = engine
    seconds: dict[tuple[str, str, str], list[float]] = {way: [] for way in engines}
    for number in range(MOST_TIMED):
        picture = pictures[number % len(pictures)][None, ..., None]
        for way, engine in engines.items():
            if sum(seconds[way]) < TIMED_S or number < FEWEST_TIMED:
                began = time.perf_counter()
                engine.run(picture)
                seconds[way].append(time.perf_counter() - began)
    return [
        Speed(
            network=network,
            engine=name,
            precision=precision,
            median_ms=1e3 * float(np.median(found)),
            p99_ms=1e3 * float(np.percentile(found, 99)),
        )
        for (network, name, precision), found in seconds.items()
    ]


def _ways(bundle: ModelBundle, *, int8: bool) -> list[tuple[str, Precision]]:
    """Engines and precisions, the slowest first: of the first engine that runs this network."""
    for name in ("openvino", "tensorflow"):
        try:
            precisions: list[Precision] = [*reversed(engine_class(name).candidates(bundle))]
        except ModelError:
            continue
        if int8:
            precisions.append("int8")
        return [(name, precision) for precision in precisions]
    return []
