"""A mouse in an open field, seen from above, whose keypoints are known: frames for tests, demos and benchmarks."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.arena.body import KEYPOINTS, Body, body_of, draw, draw_reflection, moved
from posestream.acquisition.arena.ground import WALL_FOOT, coloured, ground, wall_mask
from posestream.acquisition.arena.motion import MouseMotion

__all__ = ["KEYPOINTS", "Arena"]

NOISE_FIELDS = 4
NOISE_SHIFT_PX = 61
"""A few fields of noise are made beforehand and shifted; new random numbers would cost more than the scene."""
MOST_POSTURES = 12
"""That an exposure is made of: one for each pixel that the mouse moves in it."""


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
    exposure_us
        For so long a frame is exposed, microseconds: what moves is blurred, round the place where it is in the middle.
    colour
        Whether frames are red, green and blue instead of grey.
    """

    def __init__(
        self,
        width: int = 640,
        height: int = 480,
        rate_hz: float = 30.0,
        seed: int = 0,
        noise: float = 2.0,
        exposure_us: float = 2000.0,
        *,
        colour: bool = False,
    ) -> None:
        self._scale = min(width / 640, height / 480)
        self._interval_s = 1.0 / rate_hz
        self._exposed = exposure_us * 1e-6 * rate_hz
        self._ground = ground(width, height, seed)
        self._wall = wall_mask(width, height)
        self._wall_foot_px = WALL_FOOT * height / self._scale
        if colour:
            self._ground = coloured(self._ground)
        self._noise = _noise_fields(self._ground.shape, seed, noise) if noise > 0 else []
        self._motion = MouseMotion(seed, width / self._scale, height / self._scale)
        self._body = self._before = body_of(self._motion)
        self.frame_seq = 0
        """Number of the present frame."""

    def advance(self) -> None:
        """Go on to the next frame."""
        self._motion.step(self._interval_s)
        self._before, self._body = self._body, body_of(self._motion)
        self.frame_seq += 1

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
            uint8 (height, width), or (height, width, 3) of a scene with colours; filled in place.
        """
        np.copyto(out, self._ground)
        draw_reflection(out[: len(self._wall)], self._wall, self._body, self._scale, self._wall_foot_px)
        draw(out, self._postures(), self._scale)
        if self._noise:
            height, width = out.shape[:2]
            brighter, darker = self._noise[self.frame_seq % NOISE_FIELDS]
            down, right = self.frame_seq * 23 % NOISE_SHIFT_PX, self.frame_seq * 47 % NOISE_SHIFT_PX
            cv2.add(out, brighter[down : down + height, right : right + width], out)
            cv2.subtract(out, darker[down : down + height, right : right + width], out)

    def _postures(self) -> list[Body]:
        """Postures during the exposure, as many as it takes for a blur without steps."""
        pairs = zip(self._body.keypoints, self._before.keypoints, strict=True)
        fastest = max(abs(now - then) for now, then in pairs) * self._exposed * self._scale
        if fastest < 0.5:
            return [self._body]
        times = np.linspace(-0.5, 0.5, min(MOST_POSTURES, 1 + math.ceil(fastest))) * self._exposed
        return [moved(self._body, self._before, float(time)) for time in times]


def _noise_fields(shape: tuple[int, ...], seed: int, sigma: float) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Make noise in two halves, what it adds and what it takes: saturating 8-bit sums are the fastest there are."""
    rng = np.random.default_rng([seed, 2])
    fields = []
    for _ in range(NOISE_FIELDS):
        field = np.rint(rng.normal(0.0, sigma, (shape[0] + NOISE_SHIFT_PX, shape[1] + NOISE_SHIFT_PX, *shape[2:])))
        fields.append((np.clip(field, 0, 255).astype(np.uint8), np.clip(-field, 0, 255).astype(np.uint8)))
    return fields
