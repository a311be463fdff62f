"""A mouse in an open field, seen from above, whose keypoints are known: frames for tests, demos and benchmarks."""

import cv2
import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.arena_body import KEYPOINTS, body_of, draw
from posestream.acquisition.arena_ground import ground
from posestream.acquisition.arena_motion import MouseMotion

__all__ = ["KEYPOINTS", "Arena"]

NOISE_FIELDS = 4
NOISE_SHIFT_PX = 61
"""A few fields of noise are made beforehand and shifted; new random numbers would cost more than the scene."""


class Arena:
    """The scene, one frame at a time; the same arguments give the same frames.

    Parameters
    ----------
    width, height
        Size of a frame, pixels. The mouse is about 120 pixels long in a frame of 640 x 480, and in proportion else.
    rate_hz
        Frames a second of simulated time.
    seed
        For the path, the paper and the noise.
    noise
        Standard deviation of the sensor's noise, grey levels.
    """

    def __init__(
        self, width: int = 640, height: int = 480, rate_hz: float = 30.0, seed: int = 0, noise: float = 2.0
    ) -> None:
        self._scale = min(width / 640, height / 480)
        self._interval_s = 1.0 / rate_hz
        self._ground = ground(width, height, seed)
        self._noise = _noise_fields(width, height, seed, noise) if noise > 0 else []
        self._motion = MouseMotion(seed, width / self._scale, height / self._scale)
        self._body = body_of(self._motion)
        self.index = 0
        """Number of the present frame."""

    def advance(self) -> None:
        """Go on to the next frame."""
        self._motion.step(self._interval_s)
        self._body = body_of(self._motion)
        self.index += 1

    @property
    def keypoints(self) -> tuple[tuple[float, float], ...]:
        """True x and y of `KEYPOINTS` in the present frame, pixels; (0, 0) is the middle of the upper left pixel."""
        half = 0.5 + 0.5j
        places = [(point + half) * self._scale - half for point in self._body.keypoints]
        return tuple((place.real, place.imag) for place in places)

    def render(self, out: NDArray[np.uint8]) -> None:
        """Draw the present frame.

        Parameters
        ----------
        out
            (height, width) uint8, filled in place.
        """
        np.copyto(out, self._ground)
        draw(out, self._body, self._scale)
        if self._noise:
            height, width = out.shape
            brighter, darker = self._noise[self.index % NOISE_FIELDS]
            down, right = self.index * 23 % NOISE_SHIFT_PX, self.index * 47 % NOISE_SHIFT_PX
            cv2.add(out, brighter[down : down + height, right : right + width], out)
            cv2.subtract(out, darker[down : down + height, right : right + width], out)


def _noise_fields(
    width: int, height: int, seed: int, sigma: float
) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Make noise in two halves, what it adds and what it takes: saturating 8-bit sums are the fastest there are."""
    rng = np.random.default_rng([seed, 2])
    fields = []
    for _ in range(NOISE_FIELDS):
        field = np.rint(rng.normal(0.0, sigma, (height + NOISE_SHIFT_PX, width + NOISE_SHIFT_PX)))
        fields.append((np.clip(field, 0, 255).astype(np.uint8), np.clip(-field, 0, 255).astype(np.uint8)))
    return fields
