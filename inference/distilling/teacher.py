"""What the teacher says of a frame: at two scales, as it is and in a mirror; and of the frames before and behind it.

What it says is kept as it is, and put together when all of it is there: only then it shows whether a mirror swaps the
body parts as their names say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine
from posestream.inference.training.augment import mirrored_order, scaled

__all__ = ["SURE", "Answer", "Teacher", "agreed", "mirrors", "tolerance_px"]

SCALES = (1.0, 0.8)
SURE = 0.6
"""Likelihood from which a body part counts as found."""
ABSENT = 0.05
"""Likelihood in all views below which it counts as not to be seen; between the two, nobody knows."""
AGREEING = 0.75
"""Share of the views that must find the same place."""
TOLERANCE = 0.02
"""Of the frame's diagonal: places nearer than this are the same."""
MIRRORS_BELOW = 0.5
"""Share of the sure body parts that a mirror must leave where they are, for mirrors to be trusted."""

Pixels = NDArray[np.uint8]
Poses = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the views agreed on."""

    keypoints: NDArray[np.float64]
    """(K, 2): x and y in pixels; NaN where the body part is not to be seen, or nobody knows."""
    known: NDArray[np.bool_]
    """(K,): whether the teacher is sure that it is there, or that it is not."""


class Teacher:
    """Asks a network.

    Parameters
    ----------
    engine
        Runs the network.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._mirror = mirrored_order(engine.bodyparts)
        self._prepared: set[tuple[int, ...]] = set()

    def plain(self, pixels: Pixels) -> Poses:
        """Pose (K, 3) of a frame as it is, uint8 (H, W, 1 or 3)."""
        if pixels.shape not in self._prepared:
            height, width, channels = pixels.shape
            self._engine.prepare(height, width, "gray8" if channels == 1 else "rgb24", [1])
            self._prepared.add(pixels.shape)
        return np.array(self._engine.run(np.ascontiguousarray(pixels)[None])[0], np.float32)

    def views(self, pixels: Pixels) -> Poses:
        """Poses (V, K, 3) of all views of a frame, in its own pixels: at each scale as it is, then in a mirror."""
        found = []
        for scale in SCALES:
            picture, _ = scaled(pixels, np.empty((0, 2)), scale)
            picture = picture.reshape(*picture.shape[:2], pixels.shape[2])  # OpenCV drops a single channel
            ratio = np.array([pixels.shape[1] / picture.shape[1], pixels.shape[0] / picture.shape[0]])
            for mirrored in (False, True):
                pose = self.plain(picture[:, ::-1] if mirrored else picture)
                if mirrored:
                    pose[:, 0] = picture.shape[1] - 1 - pose[:, 0]
                    pose = pose[self._mirror]
                pose[:, :2] = (pose[:, :2] + 0.5) * ratio - 0.5
                found.append(pose)
        return np.stack(found)


def tolerance_px(width: int, height: int) -> float:
    """Give the distance below which two places in such a frame are the same."""
    return TOLERANCE * float(np.hypot(width, height))


def mirrors(views: Sequence[Poses], tolerance: float) -> bool:
    """Say whether a mirrored frame has the same body parts, swapped as their names say."""
    same = total = 0
    for poses in views:
        sure = (poses[0, :, 2] >= SURE) & (poses[1, :, 2] >= SURE)
        same += int((_apart(poses[0], poses[1]) <= tolerance)[sure].sum())
        total += int(sure.sum())
    return same >= MIRRORS_BELOW * total


def agreed(views: Poses, near: Sequence[Poses], tolerance: float, *, mirror: bool) -> Answer:
    """Put together what the teacher says of a frame.

    Parameters
    ----------
    views
        (V, K, 3), as `Teacher.views` gives them.
    near
        Poses (K, 3) of the frames before and behind; none where there is none.
    tolerance
        Pixels.
    mirror
        Whether views in a mirror count.

    Returns
    -------
    Answer
        Means of the views that agree, weighted by likelihood. A body part is left open where too few agree, and where
        it jumps: it is far from where it was before and is behind, while these are near one another.
    """
    counted = views if mirror else views[::2]
    likelihood = counted[..., 2].astype(np.float64)
    agreeing = (likelihood >= SURE) & (_apart(counted, views[:1]) <= tolerance)
    there = agreeing.sum(axis=0) >= AGREEING * len(counted)
    if len(near) == 2:
        before, behind = near
        vouched = (before[:, 2] >= SURE) & (behind[:, 2] >= SURE)
        jump = np.minimum(_apart(views[0], before), _apart(views[0], behind))
        there &= ~(vouched & (jump > tolerance + 2 * _apart(before, behind)))
    absent = (likelihood <= ABSENT).all(axis=0)
    weight = np.where(agreeing, likelihood, 0.0)[..., None]
    with np.errstate(invalid="ignore"):
        places = (weight * counted[..., :2]).sum(axis=0) / weight.sum(axis=0)
    return Answer(np.where(there[:, None], places, np.nan), there | absent)


def _apart(one: Poses, other: Poses) -> NDArray[np.float64]:
    return np.asarray(np.hypot(one[..., 0] - other[..., 0], one[..., 1] - other[..., 1]), np.float64)
