"""The empty arena: paper on the floor, droppings, lamps that light it unevenly, walls and the gleam of the front one.

Modelled on the open-field recording of DeepLabCut's examples: a floor of about 150 to 250 grey levels, brightest on
the right, walls of 60 to 130, and the bulging edges of a wide lens.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["WALL_FOOT", "coloured", "ground", "wall_mask"]

FloatImage: TypeAlias = NDArray[np.float32]

FLOOR = ((0.034, 0.108), (0.48, 0.085), (0.972, 0.124), (0.948, 0.965), (0.48, 0.985), (0.048, 0.958))
"""Corners of the floor and the middles of its upper and lower edge, as fractions of the frame."""
GLEAMS = ((0.187, 0.026), (0.318, 0.026), (0.65, 0.026))
"""Reflections of the lamps on the front wall: place and width, fractions of the frame."""
GRAIN_GRAY = 1.1
"""Texture of the paper, standard deviation."""
WALL_FOOT = 0.096
"""Where the wall behind the arena meets the floor, as a fraction of the height: it reflects from there on."""
WALL_ROWS = 0.13
"""Rows in which that wall is seen, as a fraction."""
PAPER_TINT, WALL_TINT = (1.02, 1.0, 0.93), (0.96, 1.0, 1.08)
"""Red, green and blue in a scene with colours, as parts of the grey level."""


def ground(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Paint the empty arena.

    Parameters
    ----------
    width, height
        Size of the frame, pixels; the scene is stretched to it.
    seed
        For the texture of the paper and the marks on it.

    Returns
    -------
    ndarray
        (height, width) uint8.
    """
    rng = np.random.default_rng([seed, 1])
    scale = _scale(width, height)
    x: FloatImage = ((np.arange(width) + 0.5) / width)[None, :].astype(np.float32)
    y: FloatImage = ((np.arange(height) + 0.5) / height)[:, None].astype(np.float32)
    floor = _floor_mask(width, height, scale)
    paper = _paper(x, y) + _marks(width, height, scale, rng)
    scene = floor * paper + (1 - floor) * _walls(x, y)
    scene -= 34 * _edge(floor, scale)
    _gleam(scene, scale)
    grain = rng.normal(0, GRAIN_GRAY, scene.shape).astype(np.float32)
    scene += 1.8 * _soft(grain, 0.6)
    _droppings(scene, scale, np.random.default_rng([seed, 3]))
    return np.asarray(np.clip(scene, 0, 255), np.uint8)


def coloured(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the empty arena in red, green and blue, uint8 (height, width, 3): yellowish paper, bluish walls."""
    height, width = gray.shape
    floor = _floor_mask(width, height, _scale(width, height))[..., None]
    tint = floor * np.array(PAPER_TINT, np.float32) + (1 - floor) * np.array(WALL_TINT, np.float32)
    return np.asarray(np.clip(gray[..., None] * tint, 0, 255), np.uint8)


def wall_mask(width: int, height: int) -> NDArray[np.uint8]:
    """Give the uppermost rows of a frame, uint8 (rows, width): 255 where the wall is, 0 on the floor."""
    floor = _floor_mask(width, height, _scale(width, height))[: max(1, round(WALL_ROWS * height))]
    return np.asarray(np.rint(255 * (1 - floor)), np.uint8)


def _scale(width: int, height: int) -> float:
    return min(width / 640, height / 480)


def _floor_mask(width: int, height: int, scale: float) -> FloatImage:
    left_top, top, right_top, right_bottom, bottom, left_bottom = (np.array(p) for p in FLOOR)
    along = np.linspace(0, 1, 25)[:, None]
    edges = [
        _curve(left_top, top, right_top, along),
        _curve(right_top, (right_top + right_bottom) / 2 + (0.012, 0), right_bottom, along),
        _curve(right_bottom, bottom, left_bottom, along),
        _curve(left_bottom, (left_top + left_bottom) / 2 - (0.012, 0), left_top, along),
    ]
    outline = np.concatenate(edges) * (width, height)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return _soft(np.asarray(mask / 255, np.float32), 1.2 * scale)


def _curve(
    start: NDArray[np.float64], middle: NDArray[np.float64], end: NDArray[np.float64], t: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Parabola through three points."""
    return (1 - t) * (1 - 2 * t) * start + 4 * t * (1 - t) * middle + t * (2 * t - 1) * end


def _paper(x: FloatImage, y: FloatImage) -> FloatImage:
    band = np.exp(-(((y - 0.545) / 0.27) ** 2))
    lamps = 78 + 14 * x - 34 * np.exp(-(((x - 0.43) / 0.24) ** 2)) + 14 * np.exp(-(((x - 0.92) / 0.22) ** 2))
    far = 22 * np.exp(-(((x - 0.62) / 0.3) ** 2)) * (1 - y)
    return np.asarray(150 + band * lamps + far, np.float32)


def _walls(x: FloatImage, y: FloatImage) -> FloatImage:
    back = 82 + 56 * np.sin(np.pi * np.clip(0.12 + 0.8 * x, 0, 1)) + 120 * y
    side = 66 + 52 * np.exp(-(((y - 0.5) / 0.28) ** 2)) + 0 * x
    front = 46 + 25 * np.sin(np.pi * x) + 0 * y
    flank = np.clip((np.maximum(0.036 - x, x - 0.968) + 0.03 * y) / 0.012, 0, 1)
    near = np.clip((y - 0.955) / 0.012, 0, 1)
    walls = back * (1 - flank) + side * flank
    return np.asarray(walls * (1 - near) + front * near, np.float32)


def _edge(floor: FloatImage, scale: float) -> FloatImage:
    """Shade where the floor meets a wall: 1 on the edge, 0 away from it."""
    blurred = _soft(floor, 2.5 * scale)
    shade: FloatImage = 4 * blurred * (1 - blurred)
    return shade


def _gleam(scene: FloatImage, scale: float) -> None:
    height, width = scene.shape
    light = np.zeros_like(scene)
    for place, span in GLEAMS:
        rows = slice(round(0.974 * height), max(round(0.99 * height), round(0.974 * height) + 1))
        light[rows, round((place - span) * width) : round((place + span) * width)] = 230
    np.maximum(scene, _soft(light, 0.9 * scale), out=scene)


def _marks(width: int, height: int, scale: float, rng: np.random.Generator) -> FloatImage:
    """Faint lines and specks on the paper, and the bands that a row-wise sensor adds."""
    marks = np.zeros((height, width), np.uint8)
    thick = max(1, round(1.4 * scale))
    for _ in range(2):
        across = np.sort(rng.uniform(0.06, 0.94, 7)) * width
        down = np.repeat(rng.uniform(0.15, 0.9, 4), 2)[:7] * height
        line = np.round(np.stack([across, down], axis=1) * 16).astype(np.int32)
        cv2.polylines(marks, [line], False, 16, thick, cv2.LINE_AA, 4)
    for _ in range(6):
        spot = (round(rng.uniform(0.1, 0.9) * width), round(rng.uniform(0.15, 0.9) * height))
        cv2.circle(marks, spot, max(1, round(1.5 * scale)), 30, -1, cv2.LINE_AA)
    bands = _soft(rng.normal(0, 3, (height, 1)).astype(np.float32).repeat(8, axis=1), 1.2 * scale)[:, :1]
    return bands - _soft(marks.astype(np.float32), 0.8 * scale)


def _droppings(scene: FloatImage, scale: float, rng: np.random.Generator) -> None:
    height, width = scene.shape
    cover = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(0, 7))):
        spot = np.round(rng.uniform((0.08, 0.16), (0.92, 0.9)) * (width, height) * 16).astype(int).tolist()
        axes = np.round(rng.uniform((2.4, 1.1), (3.8, 1.7)) * scale * 16).astype(int).tolist()
        cv2.ellipse(cover, spot, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA, 4)
    share = _soft(np.asarray(cover / 255, np.float32), 0.7 * scale)
    scene += share * (48 - scene)


def _soft(image: FloatImage, sigma_px: float) -> FloatImage:
    blurred = cv2.GaussianBlur(image, (0, 0), max(0.3, sigma_px))
    return np.asarray(blurred, np.float32)
