"""How the simulated mouse moves: it walks from place to place, turns, pauses and looks around.

The neck is driven; the rest of the spine and the tail follow it like the waggons of a train, each link turning only
so far against the one before, so the body bends as the animal turns. Points are complex numbers in scene pixels:
x to the right, y down, one pixel being that of a 640 x 480 frame.
"""

import cmath
import math
import random

__all__ = ["BODY_LINKS", "TAIL_LINKS", "MouseMotion"]

BODY_LINKS = 5
"""Links from the neck to the base of the tail."""
TAIL_LINKS = 8
"""Links from the base of the tail to its tip."""

BODY_LINK_PX = 19.5
TAIL_LINK_PX = 13.5
BODY_BEND = 0.36
"""How far a link of the body turns against the one before, radians."""
TAIL_BEND = 0.5
WALL_PX = (68.0, 88.0, 68.0, 58.0)
"""How near the neck comes to the left, upper, right and lower edge: the snout, 26 px ahead, stays on the floor."""
BODY_ROOM_PX = 24.0 + 20.0j
"""How much nearer to the walls than the neck the rest of the spine comes."""
LONGEST_STEP_S = 1 / 60
"""Slow cameras are simulated in several steps a frame, else the steering would overshoot."""


class MouseMotion:
    """Position and posture of the mouse, moved on in time by `step`.

    Parameters
    ----------
    seed
        The same seed and the same steps give the same path.
    width, height
        Size of the scene, scene pixels.
    """

    def __init__(self, seed: int, width: float, height: float) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        left, top, right, bottom = WALL_PX
        self._low = complex(min(left, width / 2), min(top, height / 2))
        self._high = complex(max(width - right, width / 2), max(height - bottom, height / 2))
        self.neck = self._place()
        self.heading = self._random.uniform(-math.pi, math.pi)
        self.head_turn = 0.0
        """Angle of the head against the heading, radians."""
        self.gait = 0.0
        """Phase of the steps, radians."""
        self.speed = 0.0
        """Scene pixels a second."""
        self._turn_rate = 0.0
        self._scan = 0.0
        self._curl = 0.0
        self._stretch = 0.9
        self._cruise = 100.0
        self._target = self.neck
        self._patience_s = 0.0
        self._pause_s = 0.0
        back = cmath.rect(-1.0, self.heading)
        self.spine = [self.neck + back * BODY_LINK_PX * i for i in range(BODY_LINKS + 1)]
        """Points from the neck to the base of the tail."""
        self.tail = [self.spine[-1] + back * TAIL_LINK_PX * i for i in range(TAIL_LINKS + 1)]
        """Points from the base of the tail to its tip."""
        for _ in range(60):
            self._step(LONGEST_STEP_S)

    def step(self, seconds: float) -> None:
        """Move on in time.

        Parameters
        ----------
        seconds
            Time since the last step.
        """
        parts = max(1, math.ceil(seconds / LONGEST_STEP_S))
        for _ in range(parts):
            self._step(seconds / parts)

    def _step(self, dt: float) -> None:
        error = self._steer(dt)
        self._move(dt, error)
        self._follow(dt)

    def _steer(self, dt: float) -> float:
        """Decide where to go; give how far the heading is off it, radians, or 0 in a pause."""
        if self._pause_s > 0:
            self._pause_s -= dt
            return 0.0
        self._patience_s -= dt
        way = self._target - self.neck
        if abs(way) < 30 or self._patience_s <= 0:
            if self._random.random() < 0.5:
                self._pause_s = self._random.uniform(0.3, 2.5)
            self._choose()
            way = self._target - self.neck
        return _wrapped(cmath.phase(way) - self.heading)

    def _choose(self) -> None:
        for _ in range(8):
            self._target = self._place()
            if abs(self._target - self.neck) > 130:
                break
        self._cruise = self._random.uniform(60.0, 200.0)
        self._patience_s = self._random.uniform(2.0, 6.0)

    def _place(self) -> complex:
        """Choose a place on the floor; like real mice, more often along a wall than in the open."""
        x, y = self._random.random(), self._random.random()
        if self._random.random() < 0.5:
            if self._random.random() < 0.5:
                x = round(x)
            else:
                y = round(y)
        size = self._high - self._low
        return self._low + complex(x * size.real, y * size.imag)

    def _move(self, dt: float, error: float) -> None:
        paused = self._pause_s > 0
        speed = 0.0 if paused else self._cruise * max(0.12, math.cos(error))
        turn_rate = max(-3.2, min(3.2, 3.0 * error))
        self.speed += (speed - self.speed) * min(1.0, dt / 0.25)
        self._turn_rate += (turn_rate - self._turn_rate) * min(1.0, dt / 0.15)
        self.heading = _wrapped(self.heading + self._turn_rate * dt)
        self.gait += self.speed * dt * 0.13
        # Ornstein-Uhlenbeck processes: looking around, more so in a pause, and the curl of the tail
        self._scan += -self._scan * dt / 0.6 + self._random.gauss(0.0, 0.9 if paused else 0.4) * math.sqrt(dt)
        self._curl += -self._curl * dt / 1.5 + self._random.gauss(0.0, 0.18) * math.sqrt(dt)
        look = max(-0.85, min(0.85, 0.5 * error + self._scan))
        self.head_turn += (look - self.head_turn) * min(1.0, dt / 0.12)
        self._stretch += (0.87 + 0.13 * min(1.0, self.speed / 120.0) - self._stretch) * min(1.0, dt / 0.4)
        neck = self.neck + cmath.rect(self.speed * dt, self.heading)
        self.neck = _within(neck, self._low, self._high)

    def _follow(self, dt: float) -> None:
        spine, tail = self.spine, self.tail
        spine[0] = self.neck
        ahead = self.heading
        for i in range(1, BODY_LINKS + 1):
            ahead = _bent(cmath.phase(spine[i - 1] - spine[i]), ahead, BODY_BEND)
            point = spine[i - 1] - cmath.rect(BODY_LINK_PX * self._stretch, ahead)
            # Squeezed rather than pushed through the wall
            spine[i] = _within(point, self._low - BODY_ROOM_PX, self._high + BODY_ROOM_PX)
        tail[0] = spine[-1]
        for i in range(1, TAIL_LINKS + 1):
            angle = cmath.phase(tail[i - 1] - tail[i])
            angle += _wrapped(ahead + self._curl - angle) * min(1.0, dt / 0.7)
            ahead = _bent(angle, ahead, TAIL_BEND)
            tail[i] = tail[i - 1] - cmath.rect(TAIL_LINK_PX, ahead)


def _within(point: complex, low: complex, high: complex) -> complex:
    return complex(max(low.real, min(high.real, point.real)), max(low.imag, min(high.imag, point.imag)))


def _wrapped(angle: float) -> float:
    return math.remainder(angle, math.tau)


def _bent(angle: float, ahead: float, most: float) -> float:
    return ahead + max(-most, min(most, _wrapped(angle - ahead)))
