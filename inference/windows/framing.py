"""What of a video's frames the network sees, and the way of its poses back to the video's pixels.

Pixels are counted as on the sensor (`stream/wire/sensor.py`): the centre of the upper left one is (0, 0).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import VideoError

__all__ = ["Framing", "Region", "parse_region"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Region:
    """A rectangle of the frame, in its pixels, as `regions` of a rig has it."""

    x: int
    """First column."""
    y: int
    """First row."""
    width: int
    height: int


@dataclass(frozen=True)
class Framing:
    """A region that is cut out, and shrunk or enlarged."""

    crop: Region | None = None
    """None: the whole frame."""
    scale: float = 1.0
    """Side of what the network sees, by the side of what was cut out."""

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what the network sees of frames of a width and height.

        Raises
        ------
        VideoError
            The region is not within the frame, or nothing is left of it.
        """
        region = self._region(width, height)
        if region.x + region.width > width or region.y + region.height > height:
            raise VideoError(
                f"the region of {region.width}x{region.height} pixels at {region.x},{region.y} is not within its "
                f"frames of {width}x{height}"
            )
        size = round(region.width * self.scale), round(region.height * self.scale)
        if min(size) < 1:
            raise VideoError(f"of {region.width}x{region.height} pixels nothing is left at a scale of {self.scale:g}")
        return size

    def cut(self, pixels: Pixels) -> Pixels:
        """Give what the network sees of a frame, uint8 (H, W, C); a view of it where nothing is shrunk or enlarged."""
        height, width = pixels.shape[:2]
        region, size = self._region(width, height), self.size(width, height)
        part = pixels[region.y : region.y + region.height, region.x : region.x + region.width]
        if size == (region.width, region.height):
            return part
        import cv2

        how = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(part, size, interpolation=how)
        return np.asarray(resized, np.uint8).reshape(size[1], size[0], -1)

    def to_video(self, poses: NDArray[np.float32], width: int, height: int) -> NDArray[np.float64]:
        """Poses, (..., 3), in pixels of frames of a width and height, from those in pixels that the network saw."""
        moved = poses.astype(np.float64)
        region, size = self._region(width, height), self.size(width, height)
        if size != (region.width, region.height):
            factor = np.array([region.width / size[0], region.height / size[1]])
            moved[..., :2] = (moved[..., :2] + 0.5) * factor - 0.5
        moved[..., :2] += (region.x, region.y)
        return moved

    def _region(self, width: int, height: int) -> Region:
        return self.crop or Region(0, 0, width, height)


def parse_region(text: str) -> Region:
    """Read a region as people write it: X,Y,WIDTH,HEIGHT.

    Raises
    ------
    VideoError
        These are not four whole numbers, or nothing lies within.
    """
    try:
        x, y, width, height = (int(number) for number in text.split(","))
    except ValueError:
        x = y = width = height = -1
    if min(x, y) < 0 or min(width, height) < 1:
        raise VideoError(f"a region is X,Y,WIDTH,HEIGHT in whole pixels, as 122,20,396,203; not {text}")
    return Region(x, y, width, height)
