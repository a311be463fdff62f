"""The crop window of one camera: its follower, the frame that it has come to, and how often it was enough."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from posestream.inference.windows.crop_window import CropWindow, CropWindowFollower

__all__ = ["CameraWindow", "CropWindowCounts"]

AGREE_PX = 1.0
"""Pixels that a pose may lie elsewhere in a window than in the whole frame."""

Pose = NDArray[np.float32]


@dataclass
class CropWindowCounts:
    """How often a window was enough."""

    windows: int = 0
    """Frames whose pose comes from a window."""
    whole: int = 0
    """Frames that the network ran on as a whole."""
    checks: int = 0
    """Those of them that a window had answered in a way that would have been trusted."""
    disagreed: int = 0
    """Checks in which a confident body part of the whole frame was elsewhere in the window by more than a pixel."""

    def add(self, other: "CropWindowCounts") -> None:
        """Count what another counted, too."""
        self.windows += other.windows
        self.whole += other.whole
        self.checks += other.checks
        self.disagreed += other.disagreed


@dataclass
class CameraWindow:
    """One camera's animal."""

    follower: CropWindowFollower
    counts: CropWindowCounts = field(default_factory=CropWindowCounts)
    number: int = -1
    """Of the frame whose pose was taken last."""
    whole_run: int = 0
    """Whole frames since a window was enough."""

    def windows(self, numbers: Sequence[int]) -> list[CropWindow]:
        """Where to look in the next frames, up to one that is to be checked; nowhere: run whole frames."""
        found: list[CropWindow] = []
        for number in numbers[: self.follower.before_check + 1]:
            window = self.follower.window(number - self.number)
            if window is None:
                break
            found.append(window)
        return found

    def accept(self, looked: Sequence[tuple[CropWindow, Pose, int]]) -> int:
        """Take poses from windows up to the first untrusted one, or one that is to be checked.

        Parameters
        ----------
        looked
            Windows in the camera's next frames, the poses in them, and the frames' numbers.

        Returns
        -------
        int
            How many count; the frame after them is to be run again whole.
        """
        for taken, (window, pose, number) in enumerate(looked):
            if self.follower.check_due or not self.follower.trusts(window, pose):
                return taken
            self.take(pose, number, whole=False)
        return len(looked)

    def take(self, pose: Pose, number: int, *, whole: bool) -> None:
        """Go on from the pose that counts for a frame."""
        self.follower.take(pose, whole=whole, elapsed=max(1, number - self.number))
        self.number = number
        if whole:
            self.counts.whole += 1
            self.whole_run += 1
        else:
            self.counts.windows += 1
            self.whole_run = 0

    def compare(self, window: CropWindow, answer: Pose, whole: Pose) -> None:
        """Count a check, where one is due and the window's answer for the frame would have been trusted."""
        if not self.follower.check_due or not self.follower.trusts(window, answer):
            return
        confident = whole[:, 2] >= self.follower.settings.threshold
        self.counts.checks += 1
        self.counts.disagreed += bool((np.hypot(*(answer - whole)[confident, :2].T) > AGREE_PX).any())
