"""Where the pixels of a frame lie on the camera's sensor, and the way between the two.

A view cuts regions out of what the camera delivers, turns them and joins them, and the camera itself may read a part
of its sensor, or take several sensor pixels for one. What comes of it is a frame of patches, in each of which the place
on the sensor is an affine function of the place in the frame.

Both count pixels as DeepLabCut does: the centre of the upper left pixel is (0, 0), and the pixel reaches from -0.5 to
0.5. So a pixel x of a frame that begins at column `origin` of the sensor, with `b` sensor columns to a pixel, has its
centre at the sensor's column origin + b * (x + 0.5) - 0.5.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import ArrayLike, NDArray

__all__ = ["SensorPatch", "to_frame", "to_sensor"]

Offset = Annotated[int, Meta(ge=0, le=65_535)]
Side = Annotated[int, Meta(ge=1, le=65_535)]


class SensorPatch(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle of the frame, and where its pixels lie on the sensor."""

    x: Offset
    """First column of the rectangle in the frame."""
    y: Offset
    """First row of it."""
    width: Side
    height: Side
    to_sensor: tuple[float, float, float, float, float, float]
    """a, b, c, d, e, f: a pixel (x, y) of the frame is (a x + b y + c, d x + e y + f) of the sensor."""


def to_sensor(patches: Sequence[SensorPatch], points: ArrayLike) -> NDArray[np.float64]:
    """Give the places on the sensor of places in the frame.

    A place belongs to the patch in which it lies; on the seam of two, to the first of them. A place outside all of
    them belongs to the nearest.

    Parameters
    ----------
    patches
        Those of the frame; none: the frame's pixels are the sensor's.
    points
        (..., 2): x, y in pixels of the frame; NaN stays NaN.

    Returns
    -------
    NDArray[np.float64]
        (..., 2): x, y in pixels of the sensor.
    """
    points = np.array(points, np.float64)
    if not patches:
        return points
    first, last, matrices = _arrays(tuple(patches))
    chosen = matrices[_distances(first, last, points[..., None, :]).argmin(axis=-1)]
    mapped: NDArray[np.float64] = (chosen[..., :2] * points[..., None, :]).sum(axis=-1) + chosen[..., 2]
    return mapped


def to_frame(patches: Sequence[SensorPatch], points: ArrayLike) -> NDArray[np.float64]:
    """Give the places in the frame of places on the sensor.

    Parameters
    ----------
    patches
        Those of the frame; none: the frame's pixels are the sensor's.
    points
        (..., 2): x, y in pixels of the sensor.

    Returns
    -------
    NDArray[np.float64]
        (..., 2): x, y in pixels of the frame: in the first patch that shows the place, NaN where none does.
    """
    points = np.array(points, np.float64)
    if not patches:
        return points
    first, last, matrices = _arrays(tuple(patches))
    mapped = np.full_like(points, np.nan)
    for index in reversed(range(len(patches))):
        (a, b, c), (d, e, f) = matrices[index]
        u, v = points[..., 0] - c, points[..., 1] - f
        inside = np.stack([e * u - b * v, a * v - d * u], axis=-1) / (a * e - b * d)
        np.copyto(mapped, inside, where=(_distances(first[index], last[index], inside) == 0)[..., None])
    return mapped


@lru_cache(maxsize=64)
def _arrays(patches: tuple[SensorPatch, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the areas of P patches, (P, 2) each, and their matrices, (P, 2, 3)."""
    first = np.array([(patch.x, patch.y) for patch in patches]) - 0.5
    last = first + np.array([(patch.width, patch.height) for patch in patches])
    return first, last, np.array([patch.to_sensor for patch in patches]).reshape(-1, 2, 3)


def _distances(
    first: NDArray[np.float64], last: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Squared distance of places from areas; 0 within."""
    outside = np.maximum(0.0, np.maximum(first - points, points - last))
    squared: NDArray[np.float64] = (outside**2).sum(axis=-1)
    return squared
