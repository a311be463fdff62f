"""Pixels with more than 8 bits: what is published of them, and what a recording in another depth keeps."""

import cv2
import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.camera import CameraError, CameraFormat

__all__ = ["EightBits", "fit_depth"]


class EightBits:
    """Scales the frames of a camera to 8 bits: `levels[0]` and below become 0, `levels[1]` and above 255.

    Parameters
    ----------
    camera
        Format of the frames; without `levels`, 0 and the largest value that its bits can hold are taken.

    Raises
    ------
    CameraError
        Where the levels do not rise, or lie outside what the bits can hold.
    """

    def __init__(self, camera: CameraFormat) -> None:
        largest = 2**camera.bits - 1
        low, high = camera.levels or (0, largest)
        if not 0 <= low < high <= largest:
            raise CameraError(
                f"levels = [{low}, {high}]: must be two rising values from 0 to {largest}, "
                f"for this camera's pixels have {camera.bits} bits"
            )
        self._low, self._factor = low, 255 / (high - low)
        self._lows = np.full(camera.shape, low, np.uint16)
        self._above_low = np.empty(camera.shape, np.uint16)

    def scale(self, pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Scale a frame.

        Parameters
        ----------
        pixels
            (height, width, channels) uint16.

        Returns
        -------
        NDArray
            (height, width, channels) uint8, a new one for each frame.
        """
        scaled = np.empty(pixels.shape, np.uint8)
        if self._low:  # two saturating sums: a third of the time of a table with 65,536 entries
            cv2.subtract(pixels, self._lows, self._above_low)
            pixels = self._above_low
        cv2.convertScaleAbs(pixels, scaled, self._factor)
        return scaled


def fit_depth(pixels: NDArray[np.uint16], bits: int, depth: int) -> NDArray[np.uint16]:
    """Give values of `bits` bits as values of `depth` bits, shifted, so that the highest bits stay the highest.

    Into a greater depth nothing is lost, and shifting back gives the camera's values.
    """
    if depth > bits:
        return pixels << np.uint16(depth - bits)
    return pixels >> np.uint16(bits - depth) if depth < bits else pixels
