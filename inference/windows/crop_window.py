"""A window that follows one animal, so that the network need not look at the whole frame.

The window lies round the last confident pose, moved as the animal moved. What the network says of it counts where no
body part has lost its confidence and all that are confident lie well within; else the network runs
on the whole frame. So it does every so often, for what a window cannot show: an animal that is elsewhere.

A network of stride 16 gives the same answer for a part of a frame as for the whole only far from the part's edges,
beyond which it sees nothing, where the part begins at a multiple of 16 pixels, and where its sides leave the same rest
as the frame's when divided by 16: each layer then pads alike. So windows reach the frame's edges, too. Their sides are
few and fixed, since an engine compiles each.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posestream.stream.wire.settings import CropWindowSettings

__all__ = ["CropWindow", "CropWindowFollower", "CropWindowSettings"]

STRIDE = 16
"""Pixels between cells of the network's features: windows begin at multiples of it."""
SMOOTHING = 0.5
"""Weight of the newest step in the measured motion."""
LONGEST_AHEAD = 10.0
"""Frames for which an animal is expected to go on as it did."""

Pose = NDArray[np.float32]


@dataclass(frozen=True)
class CropWindow:
    """A part of the frame."""

    x: int
    """First column."""
    y: int
    """First row."""
    width: int
    height: int

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give the window's pixels, a view of the frame's (H, W, C)."""
        return frame[self.y : self.y + self.height, self.x : self.x + self.width]

    def to_frame(self, pose: Pose) -> Pose:
        """Give a pose, (K, 3), in pixels of the frame."""
        return pose + np.array([self.x, self.y, 0], np.float32)


class CropWindowFollower:
    """Follows one animal in one camera's frames: it decides where to look, its caller runs the network.

    For each frame: `window` says where to look, None meaning the whole frame. A pose from a window counts where
    `trusts` says so, and otherwise runs on the whole frame. `take` is told the pose that counts.

    Parameters
    ----------
    settings
        How.
    width, height
        Of the frames, pixels.
    """

    def __init__(self, settings: CropWindowSettings, width: int, height: int) -> None:
        self.settings = settings
        self._frame = np.array([width, height])
        self.sizes = [
            (side - (side - width) % STRIDE, side - (side - height) % STRIDE)
            for side in sorted(settings.sides)
            if side <= min(width, height)
        ]
        """Width and height of the windows that there may be, pixels; none where the frame is smaller than all."""
        self._last: Pose | None = None
        self._velocity = np.zeros(2)
        self._since_whole = 0

    @property
    def before_check(self) -> int:
        """Frames that windows may answer before a whole one is due."""
        return max(0, self.settings.check_every - 1 - self._since_whole)

    @property
    def check_due(self) -> bool:
        """Whether the network is to run on the whole next frame, whatever a window says."""
        return self.before_check == 0

    def window(self, ahead: float = 1.0) -> CropWindow | None:
        """Say where the animal is expected.

        Parameters
        ----------
        ahead
            Frames since the pose that was taken last; they need not be whole where frames come at uneven intervals.

        Returns
        -------
        CropWindow or None
            None: the whole frame, as the animal is lost or fits into no window.
        """
        if self._last is None:
            return None
        points = self._last[self._confident(self._last), :2]
        low, high = points.min(axis=0), points.max(axis=0)
        needed = float((high - low).max()) + 2 * self.settings.margin_px + STRIDE
        size = next((size for size in self.sizes if min(size) >= needed), None)
        if size is None:
            return None
        corner = (low + high) / 2 + self._velocity * min(ahead, LONGEST_AHEAD) - np.array(size) / 2
        x, y = np.clip((corner / STRIDE).round(), 0, (self._frame - size) / STRIDE).astype(int).tolist()
        return CropWindow(x * STRIDE, y * STRIDE, *size)

    def trusts(self, window: CropWindow, pose: Pose) -> bool:
        """Say whether a pose from a window, (K, 3) in pixels of the frame, is what the whole frame would say."""
        confident = self._confident(pose)
        if not confident.any() or (self._last is not None and (self._confident(self._last) & ~confident).any()):
            return False
        low, high = pose[confident, :2].min(axis=0), pose[confident, :2].max(axis=0)
        begin, margin = np.array([window.x, window.y]), self.settings.margin_px
        end = begin + np.array([window.width, window.height])
        within = ((low >= begin + margin) | (begin == 0)) & ((high <= end - margin) | (end == self._frame))
        return bool(within.all())

    def take(self, pose: Pose, *, whole: bool, elapsed: float = 1.0) -> None:
        """Go on from a pose.

        Parameters
        ----------
        pose
            (K, 3) in pixels of the frame.
        whole
            Whether it comes from a whole frame.
        elapsed
            Frames since the pose before; as `ahead` of `window`.
        """
        self._since_whole = 0 if whole else self._since_whole + 1
        confident = self._confident(pose)
        if not confident.any():
            self._last, self._velocity = None, np.zeros(2)
            return
        if self._last is not None and (both := confident & self._confident(self._last)).any():
            step = (pose[both, :2] - self._last[both, :2]).mean(axis=0) / elapsed
            jump = np.abs(step).max() > min(self.settings.sides) / 4  # found elsewhere: that is no motion
            self._velocity = np.zeros(2) if jump else SMOOTHING * step + (1 - SMOOTHING) * self._velocity
        self._last = np.array(pose)

    def _confident(self, pose: Pose) -> NDArray[np.bool_]:
        # An engine may give what is no number: that part was not found.
        return np.asarray((pose[:, 2] >= self.settings.threshold) & np.isfinite(pose).all(axis=1))
