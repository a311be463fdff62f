"""Batches of crops with their targets, made by a thread ahead of the training."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posestream.inference.arithmetic import map_size
from posestream.inference.formats.bundle import ModelSpec
from posestream.inference.training.augment import change_looks, cut_out, mirrored_order
from posestream.inference.training.labels import LabelledFrame
from posestream.inference.training.plan import TrainingPlan
from posestream.inference.training.targets import disc_radius, draw_targets

__all__ = ["Batch", "Batches", "Pool"]

LARGE_CROP_PX, SMALL_CROP_PX = 192, 128
SMALL_BELOW = 0.5
"""Pictures scaled below this are cut into small crops, twice as many for the same cost."""
AHEAD = 4
"""Batches that are made before they are asked for; the thread waits when so many are there."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pool:
    """Frames of one kind."""

    frames: Sequence[LabelledFrame]
    share: float
    """Of the crops, 0 to 1; the last pool gets what the others leave."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step sees; see `draw_targets` and `total_loss`."""

    pixels: NDArray[np.uint8]
    """RGB (B, S, S, 3)."""
    discs: Floats
    refinement: Floats
    within: Floats
    known: Floats


class Batches:
    """Makes the batch of any step; the same one whenever it is asked for.

    Parameters
    ----------
    spec
        Of the network that is trained.
    plan
        Scales, cost of a step, seed.
    pools
        Frames to cut crops out of, at least one.
    """

    def __init__(self, spec: ModelSpec, plan: TrainingPlan, pools: Sequence[Pool]) -> None:
        self._spec, self._plan = spec, plan
        self._pools = [pool for pool in pools if pool.frames]
        self._mirror = mirrored_order(spec.bodyparts) if plan.mirror else None

    def make(self, step: int) -> Batch:
        """Make the batch of this step."""
        plan, spec = self._plan, self._spec
        rng = np.random.default_rng([plan.seed, 2, step])
        low, high = math.log(plan.smallest_scale), math.log(plan.largest_scale)
        drawn = rng.uniform(low, high)
        border = min(max(math.log(SMALL_BELOW), low), high)
        bounds, size = ((low, border), SMALL_CROP_PX) if drawn < border else ((border, high), LARGE_CROP_PX)
        count = max(1, plan.batch_pixels // size**2)
        scales = np.exp(rng.uniform(*bounds, count))
        pixels = np.empty((count, size, size, 3), np.uint8)
        keypoints = np.empty((count, len(spec.bodyparts), 2))
        known = np.empty((count, len(spec.bodyparts)), np.float32)
        for number, scale in enumerate(scales):
            frames = self._choose(rng)
            frame = frames[int(rng.integers(len(frames)))]
            crop = cut_out(frame, rng, scale=float(scale), size=size, mirror=self._mirror)
            pixels[number] = change_looks(crop.pixels, rng)
            keypoints[number], known[number] = crop.keypoints, frame.known
        radius = np.array([disc_radius(float(scale), plan.disc_px) for scale in scales])
        targets = draw_targets(
            keypoints, radius, *map_size(spec, size, size), stride=float(spec.stride), locref_stdev=spec.locref_stdev
        )
        return Batch(pixels, *targets, known)

    def _choose(self, rng: np.random.Generator) -> Sequence[LabelledFrame]:
        """Choose a pool by its share."""
        if len(self._pools) > 1:
            drawn = rng.random()
            for pool in self._pools[:-1]:
                if drawn < pool.share:
                    return pool.frames
                drawn -= pool.share
        return self._pools[-1].frames

    @contextmanager
    def ahead(self, first: int, last: int) -> Iterator[Iterator[Batch]]:
        """Make the batches of the steps `first` to `last` (without it) in a thread, which ends with the context."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            waiting: deque[Future[Batch]] = deque()

            def batches() -> Iterator[Batch]:
                for step in range(first, last + AHEAD):
                    if step < last:
                        waiting.append(pool.submit(self.make, step))
                    if step >= first + AHEAD:
                        yield waiting.popleft().result()

            try:
                yield batches()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
