"""Runs an engine on windows that follow an animal, several frames of a video at a time.

Where the animal will be in the frames of a batch is predicted before any of them is inferred. So the poses are looked
at in order: they count up to the first that is not trusted, that frame is asked as a whole, and the frames behind it
get windows anew.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine
from posestream.inference.following import Follower, FollowSettings, Window
from posestream.stream.wire.messages import PixelFormat

__all__ = ["WindowCounts", "WindowedRun"]

AGREE_PX = 1.0
"""Pixels that a pose may lie elsewhere in a window than in the whole frame."""


@dataclass
class WindowCounts:
    """How often a window was enough."""

    windows: int = 0
    """Frames whose pose comes from a window."""
    whole: int = 0
    """Frames that were asked as a whole."""
    checks: int = 0
    """Those of them that a window had answered in a way that would have been trusted."""
    disagreed: int = 0
    """Checks in which a confident body part of the whole frame was elsewhere in the window by more than a pixel."""


class WindowedRun:
    """Poses of one video's frames; frames come in order, any number at a time.

    Parameters
    ----------
    engine
        What computes; prepared here for frames and windows when they come.
    settings
        How the window follows.
    width, height
        Of the frames, pixels.
    batch_size
        Frames that come at a time, at most.
    """

    def __init__(self, engine: Engine, settings: FollowSettings, width: int, height: int, batch_size: int) -> None:
        self._engine, self._settings, self._batch_size = engine, settings, batch_size
        self._width, self._height = width, height
        self._follower = Follower(settings, width, height)
        self._whole_run = 0
        self._prepared: set[tuple[int, int, PixelFormat, int]] = set()
        self._cuts = np.empty((0, 0, 0, 0), np.uint8)
        self.counts = WindowCounts()

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat) -> NDArray[np.float32]:
        """Estimate the poses of the next frames, uint8 (B, H, W, C): (B, K, 3) in pixels of the frame, likelihood."""
        poses = np.empty((len(frames), len(self._engine.bodyparts), 3), np.float32)
        done = 0
        while done < len(frames):
            done += self._some(frames[done:], poses[done:], pixel_format)
        return poses

    def _some(self, frames: NDArray[np.uint8], poses: NDArray[np.float32], pixel_format: PixelFormat) -> int:
        """Fill in the poses of the first frames; gives of how many."""
        follower, counts = self._follower, self.counts
        windows = self._windows(len(frames))
        if not windows:  # no more at a time than went before, as the animal may come back
            return self._whole(frames[: max(1, self._whole_run)], poses, pixel_format)
        for done, (window, pose) in enumerate(zip(windows, self._ask(windows, frames, pixel_format), strict=True)):
            trusted = follower.trusts(window, pose)
            if not trusted or follower.check_due:
                self._whole(frames[done : done + 1], poses[done:], pixel_format)
                if trusted:
                    counts.checks += 1
                    counts.disagreed += self._differ(pose, poses[done])
                return done + 1
            poses[done] = pose
            follower.take(pose, whole=False)
            counts.windows += 1
            self._whole_run = 0
        return len(windows)

    def _windows(self, frames: int) -> list[Window]:
        """Where to look in the next frames, up to one that is to be checked."""
        windows: list[Window] = []
        for ahead in range(1, min(frames, self._follower.before_check + 1) + 1):
            window = self._follower.window(ahead)
            if window is None:  # then there is none for any of them
                break
            windows.append(window)
        return windows

    def _ask(
        self, windows: list[Window], frames: NDArray[np.uint8], pixel_format: PixelFormat
    ) -> list[NDArray[np.float32]]:
        shape = (windows[0].height, windows[0].width, frames.shape[3])  # of all, as they come from one pose
        if self._cuts.shape[1:] != shape:
            self._cuts = np.empty((self._batch_size, *shape), np.uint8)
        for cut, window, frame in zip(self._cuts, windows, frames, strict=False):
            cut[:] = window.cut(frame)
        poses = self._run(self._cuts[: len(windows)], pixel_format, self._batch_size)
        return [window.to_frame(pose) for window, pose in zip(windows, poses, strict=True)]

    def _whole(self, frames: NDArray[np.uint8], poses: NDArray[np.float32], pixel_format: PixelFormat) -> int:
        number = len(frames)
        poses[:number] = self._run(frames, pixel_format, 1 if number == 1 else self._batch_size)
        for pose in poses[:number]:
            self._follower.take(pose, whole=True)
        self.counts.whole += number
        self._whole_run += number
        return number

    def _run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat, largest: int) -> NDArray[np.float32]:
        """Ask the engine, which is prepared for so many at once."""
        height, width = frames.shape[1:3]
        if (key := (height, width, pixel_format, largest)) not in self._prepared:
            self._engine.prepare(height, width, pixel_format, [largest])
            self._prepared.add(key)
        return self._engine.run(frames, pixel_format)

    def _differ(self, pose: NDArray[np.float32], whole: NDArray[np.float32]) -> bool:
        confident = whole[:, 2] >= self._settings.threshold
        return bool((np.hypot(*(pose - whole)[confident, :2].T) > AGREE_PX).any())
