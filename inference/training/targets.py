"""What the network should answer: DeepLabCut's targets.

A cell of the grid lies in the middle of its pixels, at column * 8 + 4, as the decoder reads it. Cells nearer to a body
part than the disc's radius should say 1, all others 0; within the disc, the location refinement leads to the body part.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["disc_radius", "draw_targets"]

SMALLEST_DISC_PX = 8.0
"""At this radius, a cell lies in the disc wherever the body part is (the farthest corner is 5.7 pixels off)."""

Floats = NDArray[np.floating]


def disc_radius(scale: float, disc_px: float = 17.0) -> float:
    """Radius in pixels of a picture scaled by `scale`: as in DeepLabCut it shrinks with it, but not below a cell."""
    return min(max(disc_px * scale, SMALLEST_DISC_PX), disc_px)


def draw_targets(
    keypoints: Floats, radius: Floats, height: int, width: int, *, stride: float, locref_stdev: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Draw the targets of a batch.

    Parameters
    ----------
    keypoints
        (B, K, 2): x and y in pixels of the network's input; NaN where the body part is not in the picture.
    radius
        (B,): of the discs, pixels.
    height, width
        Of the maps, cells.
    stride
        Pixels between neighbouring cells.
    locref_stdev
        Pixels that a refinement of 1 stands for.

    Returns
    -------
    tuple
        float32: discs (B, h, w, K), refinement (B, h, w, 2K), and the weights of the latter, 1 within the disc.
    """
    batch, parts, _ = keypoints.shape
    x = (np.arange(width) * stride + stride / 2)[None, None, :, None]
    y = (np.arange(height) * stride + stride / 2)[None, :, None, None]
    offset = np.empty((batch, height, width, parts, 2))
    offset[..., 0] = keypoints[:, None, None, :, 0] - x
    offset[..., 1] = keypoints[:, None, None, :, 1] - y
    inside = (offset**2).sum(axis=-1) <= np.square(radius)[:, None, None, None]  # NaN is inside of nothing
    locref = np.where(inside[..., None], offset / locref_stdev, 0.0)
    flat = (batch, height, width, 2 * parts)
    weights = np.repeat(inside, 2, axis=-1)
    return inside.astype(np.float32), locref.reshape(flat).astype(np.float32), weights.astype(np.float32)
