"""How the simulated mouse looks from above: outline, head, ears, feet, tail, and the shadow it casts.

Everything is drawn at sixteenths of a pixel with soft edges, so the pixels agree with the true keypoints to well
below a pixel. Points are complex numbers in scene pixels, as in `arena_motion`.
"""

import cmath
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.arena.motion import BODY_LINKS, TAIL_LINKS, MouseMotion

__all__ = ["KEYPOINTS", "Body", "body_of", "draw", "draw_reflection", "moved"]

KEYPOINTS = ("snout", "leftear", "rightear", "tailbase")
"""Names of the keypoints, as in DeepLabCut's open-field example; left and right are the animal's own."""

Points: TypeAlias = NDArray[np.complex128]
Image: TypeAlias = NDArray[np.uint8]

SNOUT_PX, HEAD_PX = 25.0, 12.0
"""From the neck to the tip of the snout and to where the head is widest."""
EARS_PX, EAR_SIDE_PX, PINNA_BACK_PX = 16.0, 9.5, 9.5
"""From the neck to the line between the ears, as people label them, before the roots: medians of DeepLabCut's example.
From there to an ear, and from the label back to the middle of the pinna."""
SIDES_PX = (4.0, 9.5, 12.5, 19.0, 22.0, 23.5, 21.0, 4.5)
"""Half the body's width at the snout, the head, the neck and the ends of the links."""
TAIL_SIDES_PX = (3.6, 1.0)
FUR, FUR_LIGHT, EAR, EAR_INNER, FOOT, TAIL = 22, 26, 100, 126, 112, 92
"""Grey levels."""
SKIN = (1.22, 0.92, 0.9)
"""Red, green and blue of what has no fur, in a scene with colours, as parts of its grey level."""
SHADOWS = ((-5.0 + 5.0j, 222), (8.0 - 5.0j, 172))
"""One for each lamp, the fainter first: where it falls (scene pixels) and how much light is left (of 255)."""
SHADOW_SOFT_PX, LENS_SOFT_PX = 2.8, 0.9
"""Blur of the shadow's edge and of everything's, standard deviation."""
REFLECTION, REFLECTION_SOFT_PX = 110, 3.5
"""How much light of the wall is left where it shows the mouse (of 255), and the blur of that."""
CIRCLE = np.exp(2j * np.pi * np.arange(20) / 20)
SUBPIXEL_BITS = 4
REACH_PX = 20.0
"""What is drawn beyond the outermost point: shadows and their blur."""


class Body(NamedTuple):
    """A posture: the shapes to be drawn and the keypoints, scene pixels."""

    keypoints: tuple[complex, ...]
    """In the order of `KEYPOINTS`."""
    snout: Points
    outline: Points
    back: Points
    """Lighter fur along the spine."""
    tail: Points
    ears: tuple[Points, ...]
    inner_ears: tuple[Points, ...]
    feet: tuple[Points, ...]


def _through(controls: int, samples: int) -> NDArray[np.float64]:
    """Weights of a Catmull-Rom spline through all its control points, so the outline passes through the keypoints."""
    weights = np.zeros(((controls - 1) * samples + 1, controls))
    for row in range(len(weights)):
        segment, t = min(row // samples, controls - 2), row / samples - min(row // samples, controls - 2)
        cubic = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
        for offset, weight in zip((-1, 0, 1, 2), cubic, strict=True):
            weights[row, min(max(segment + offset, 0), controls - 1)] += weight / 2
    return weights


BODY_SPLINE = _through(BODY_LINKS + 3, 5)
TAIL_SPLINE = _through(TAIL_LINKS + 1, 3)
BODY_SIDES = np.maximum(BODY_SPLINE @ np.array(SIDES_PX), 1.0)
BACK_SIDES = BODY_SIDES[10:-3] * 0.6 * np.sin(np.linspace(0, np.pi, len(BODY_SIDES) - 13)) + 0.5
TAIL_SIDES = np.linspace(*TAIL_SIDES_PX, len(TAIL_SPLINE))


def body_of(motion: MouseMotion) -> Body:
    """Give the shapes of the mouse in its present posture."""
    ahead = cmath.rect(1.0, motion.heading + motion.head_turn)
    left = -1j * ahead  # y points down, so the animal's left is a quarter turn against the clock
    snout, middle = motion.neck + SNOUT_PX * ahead, motion.neck + EARS_PX * ahead
    ears = (middle + EAR_SIDE_PX * left, middle - EAR_SIDE_PX * left)
    line = BODY_SPLINE @ np.array([snout, motion.neck + HEAD_PX * ahead, *motion.spine])
    tip = _oval(snout - SIDES_PX[0] * 1.3 * ahead, SIDES_PX[0] * 1.3, SIDES_PX[0], cmath.phase(ahead))
    pinnae = tuple(ear + side * 4.0 * left - PINNA_BACK_PX * ahead for ear, side in zip(ears, (1, -1), strict=True))
    shapes = [
        _oval(pinna, 6.6, 5.2, cmath.phase(ahead) + side) for pinna, side in zip(pinnae, (0.7, -0.7), strict=True)
    ]
    inner = [
        _oval(pinna + 0.6 * ahead, 4.6, 3.4, cmath.phase(ahead) + side)
        for pinna, side in zip(pinnae, (0.7, -0.7), strict=True)
    ]
    return Body(
        keypoints=(snout, *ears, motion.spine[-1]),
        snout=tip,
        outline=_ribbon(line[1:], BODY_SIDES[1:]),
        back=_ribbon(line[10:-3], BACK_SIDES),
        tail=_ribbon(TAIL_SPLINE @ np.array(motion.tail), TAIL_SIDES),
        ears=(shapes[0], shapes[1]),
        inner_ears=(inner[0], inner[1]),
        feet=_feet(motion),
    )


def _feet(motion: MouseMotion) -> tuple[Points, ...]:
    """Hind feet swing with the gait and show beside the rump; the fore feet only just do."""
    feet = []
    for joint, out_px, size, swing in ((-2, 20.0, 9.0, 5.0), (1, 13.5, 5.5, 4.0)):
        ahead = motion.spine[joint - 1] - motion.spine[joint]
        # Two joints meet where a corner squeezes the mouse
        ahead = ahead / abs(ahead) if ahead else cmath.rect(1.0, motion.heading)
        for side in (1, -1):
            phase = motion.gait + (0 if (side > 0) == (joint > 0) else math.pi)
            centre = motion.spine[joint] - 1j * side * out_px * ahead + swing * math.cos(phase) * ahead
            feet.append(_oval(centre, size, size * 0.4, cmath.phase(ahead) - side * 0.5))
    return tuple(feet)


def _oval(centre: complex, along_px: float, across_px: float, angle: float) -> Points:
    oval: Points = centre + (CIRCLE.real * along_px + 1j * CIRCLE.imag * across_px) * cmath.rect(1.0, angle)
    return oval


def _ribbon(line: Points, sides_px: NDArray[np.float64]) -> Points:
    """Outline of a band of changing width along a line."""
    along = np.empty_like(line)
    along[1:-1], along[0], along[-1] = line[2:] - line[:-2], line[1] - line[0], line[-1] - line[-2]
    across = along * (1j * sides_px / np.maximum(np.abs(along), 1e-9))
    return np.concatenate([line - across, (line + across)[::-1]])


def moved(body: Body, before: Body, intervals: float) -> Body:
    """Give the posture so many frame intervals later, or earlier where negative, if the mouse goes on as it does.

    Parameters
    ----------
    body, before
        The present posture, and that of the frame before it.
    intervals
        How far, at most about one.
    """

    def goes_on(now: Points, then: Points) -> Points:
        return now + (now - then) * intervals

    return Body(
        keypoints=tuple(
            now + (now - then) * intervals for now, then in zip(body.keypoints, before.keypoints, strict=True)
        ),
        snout=goes_on(body.snout, before.snout),
        outline=goes_on(body.outline, before.outline),
        back=goes_on(body.back, before.back),
        tail=goes_on(body.tail, before.tail),
        ears=tuple(map(goes_on, body.ears, before.ears)),
        inner_ears=tuple(map(goes_on, body.inner_ears, before.inner_ears)),
        feet=tuple(map(goes_on, body.feet, before.feet)),
    )


def draw(frame: Image, bodies: Sequence[Body], scale: float) -> None:
    """Draw the mouse and its shadow.

    Parameters
    ----------
    frame
        uint8 (height, width), or (height, width, 3) in red, green and blue, with the ground on it; changed in place.
    bodies
        Postures during the exposure, at least one; the frame shows their mean.
    scale
        Frame pixels of a scene pixel.
    """
    region, shift = _region(frame, bodies, scale)
    if not region.size:
        return
    if len(bodies) == 1:
        _paint(region, bodies[0], scale, shift)
        return
    light = np.zeros(region.shape, np.float32)
    for body in bodies:
        picture = region.copy()
        _paint(picture, body, scale, shift)
        cv2.accumulate(picture, light)
    np.copyto(region, np.rint(light / len(bodies)), casting="unsafe")


def draw_reflection(wall: Image, shows: NDArray[np.uint8], body: Body, scale: float, foot_px: float) -> None:
    """Darken the wall behind the arena where it shows the mouse.

    Parameters
    ----------
    wall
        The frame's uppermost rows; changed in place.
    shows
        Of the same height and width: 255 where the wall is, 0 where it is not.
    body
        Posture.
    scale
        Frame pixels of a scene pixel.
    foot_px
        Where the wall meets the floor, scene pixels from above.
    """
    if body.outline.imag.min() > 2 * foot_px:
        return
    light: Image = np.full(shows.shape, 255, np.uint8)
    for shape in (body.outline, body.snout, body.tail, *body.ears):
        _fill(light, shape.conj() + 2j * foot_px, REFLECTION, scale, 0j)
    cv2.GaussianBlur(light, (0, 0), max(0.4, REFLECTION_SOFT_PX * scale), light)
    np.maximum(light, 255 - shows, out=light)
    cv2.multiply(wall, light if wall.ndim == 2 else cv2.merge([light] * 3), wall, 1 / 255)


def _paint(region: Image, body: Body, scale: float, shift: complex) -> None:
    light = np.full(region.shape, 255, np.uint8)
    for offset, left in SHADOWS:
        for shape in (body.outline, body.tail, *body.ears):
            _fill(light, shape + offset, left, scale, shift)
    cv2.GaussianBlur(light, (0, 0), max(0.4, SHADOW_SOFT_PX * scale), light)
    cv2.multiply(region, light, region, 1 / 255)
    for shapes, gray, tint in (
        (body.feet, FOOT, SKIN),
        ((body.tail,), TAIL, SKIN),
        ((body.outline, body.snout), FUR, None),
        ((body.back,), FUR_LIGHT, None),
        (body.ears, EAR, SKIN),
        (body.inner_ears, EAR_INNER, SKIN),
    ):
        for shape in shapes:
            _fill(region, shape, gray, scale, shift, tint)
    cv2.GaussianBlur(region, (0, 0), max(0.35, LENS_SOFT_PX * scale), region)


def _region(frame: Image, bodies: Sequence[Body], scale: float) -> tuple[Image, complex]:
    """Part of the frame that the mouse covers, and its upper left corner."""
    points = np.concatenate([shape for body in bodies for shape in (body.outline, body.tail, *body.ears, *body.feet)])
    height, width = frame.shape[:2]
    low = (points.real.min() - REACH_PX) * scale, (points.imag.min() - REACH_PX) * scale
    high = (points.real.max() + REACH_PX) * scale, (points.imag.max() + REACH_PX) * scale
    x, y = (min(max(0, math.floor(side)), limit) for side, limit in zip(low, (width, height), strict=True))
    right, bottom = (min(max(0, math.ceil(side)), limit) for side, limit in zip(high, (width, height), strict=True))
    return frame[y:bottom, x:right], complex(x, y)


def _fill(
    image: Image, shape: Points, gray: int, scale: float, shift: complex, tint: Sequence[float] | None = None
) -> None:
    # scene coordinates are those of pixel centres too, hence the half pixels
    points = ((shape + (0.5 + 0.5j)) * scale - (0.5 + 0.5j) - shift) * (1 << SUBPIXEL_BITS)
    vertices = np.rint(points.view(np.float64).reshape(-1, 2)).astype(np.int32)
    colour = [float(gray)] * 3 if tint is None or image.ndim == 2 else [gray * part for part in tint]
    cv2.fillPoly(image, [vertices], colour, cv2.LINE_AA, SUBPIXEL_BITS)
