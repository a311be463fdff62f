"""A batch in parts of the sizes that an engine has compiled."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["run_parts"]


def run_parts(
    frames: NDArray[np.uint8],
    sizes: Iterable[int],
    bodyparts: int,
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Run a batch in parts, the largest first; a part smaller than all sizes is filled up with black frames.

    Parameters
    ----------
    frames
        uint8 (B, H, W, C).
    sizes
        That were compiled.
    bodyparts
        K.
    run
        Gives the poses of a part of one of these sizes, which is contiguous. They are copied.

    Returns
    -------
    NDArray[np.float32]
        (B, K, 3).
    """
    frames, known = np.ascontiguousarray(frames), sorted(sizes)
    poses = np.empty((len(frames), bodyparts, 3), dtype=np.float32)
    first = 0
    while first < len(frames):
        left = len(frames) - first
        size = max((size for size in known if size <= left), default=known[0])
        part = frames[first : first + size]
        if len(part) < size:
            part = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), np.uint8)])
        poses[first : first + size] = run(part)[:left]
        first += size
    return poses
