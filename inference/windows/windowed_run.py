"""Runs an engine on windows that follow an animal: one in the frames of each camera, several frames at a time.

Where an animal will be in the frames of a batch is predicted before any of them is inferred. So the poses of a camera
are looked at in order: poses are accepted up to the first untrusted one; that frame is run again whole, and the frames
after it get new windows. What several cameras need at a time, windows of one size or whole frames, runs in one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine
from posestream.inference.windows.following import Follower, FollowSettings, Window
from posestream.stream.wire.messages import PixelFormat

__all__ = ["WindowCounts", "WindowedRun"]

AGREE_PX = 1.0
"""Pixels that a pose may lie elsewhere in a window than in the whole frame."""

Frame = NDArray[np.uint8]
Pose = NDArray[np.float32]


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

    def add(self, other: "WindowCounts") -> None:
        """Count what another counted, too."""
        self.windows += other.windows
        self.whole += other.whole
        self.checks += other.checks
        self.disagreed += other.disagreed


@dataclass
class _Camera:
    """One camera's animal."""

    follower: Follower
    counts: WindowCounts = field(default_factory=WindowCounts)
    number: int = -1
    """Of the frame whose pose was taken last."""
    whole_run: int = 0
    """Whole frames since a window was enough."""

    def windows(self, numbers: Sequence[int]) -> list[Window]:
        """Where to look in the next frames, up to one that is to be checked; nowhere: ask for whole ones."""
        found: list[Window] = []
        for number in numbers[: self.follower.before_check + 1]:
            window = self.follower.window(number - self.number)
            if window is None:
                break
            found.append(window)
        return found

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


class WindowedRun:
    """Poses of frames of one size; the frames of a camera come in order, any number at a time.

    Parameters
    ----------
    engine
        What computes.
    settings
        How the windows follow.
    width, height
        Of the frames, pixels.
    batch_size
        Frames that come at a time, at most.
    """

    def __init__(self, engine: Engine, settings: FollowSettings, width: int, height: int, batch_size: int) -> None:
        self._engine, self._settings, self._batch_size = engine, settings, batch_size
        self._width, self._height = width, height
        self._cameras: dict[str, _Camera] = {}
        self._prepared: set[tuple[int, int, PixelFormat, int]] = set()
        self._cuts: dict[tuple[int, ...], Frame] = {}

    @property
    def counts(self) -> WindowCounts:
        """How often a window was enough, over all cameras."""
        total = WindowCounts()
        for camera in list(self._cameras.values()):
            total.add(camera.counts)
        return total

    def counts_of(self, camera: str) -> WindowCounts:
        """How often a window was enough for one camera."""
        known = self._cameras.get(camera)
        return known.counts if known is not None else WindowCounts()

    def prepare(self, pixel_format: PixelFormat) -> None:
        """Compile and warm up all that can be asked; what was not prepared is when it comes.

        Raises
        ------
        ModelError
            The engine cannot run such frames.
        """
        follower = Follower(self._settings, self._width, self._height)
        for width, height in ((self._width, self._height), *follower.sizes):
            for largest in {1, self._batch_size}:
                self._prepare(height, width, pixel_format, largest)

    def run(
        self,
        frames: Sequence[Frame] | Frame,
        pixel_format: PixelFormat,
        origins: Sequence[tuple[str, int]] | None = None,
    ) -> Pose:
        """Estimate the poses of the next frames.

        Parameters
        ----------
        frames
            B arrays, uint8 (H, W, C), or one of (B, H, W, C).
        pixel_format
            Of all of them.
        origins
            Of each frame its camera and number, which rises within a camera, by more than one where frames were left
            out; by default they follow one another in one camera.

        Returns
        -------
        NDArray[np.float32]
            (B, K, 3): x and y in pixels of the frame, likelihood.
        """
        if origins is None:
            first = self._camera("").number + 1
            origins = [("", first + index) for index in range(len(frames))]
        poses = np.empty((len(frames), len(self._engine.bodyparts), 3), np.float32)
        waiting: dict[str, list[int]] = {}
        for index, (name, _) in enumerate(origins):
            waiting.setdefault(name, []).append(index)
        while waiting:
            done = self._some(waiting, frames, poses, origins, pixel_format)
            waiting = {name: indices[done[name] :] for name, indices in waiting.items() if done[name] < len(indices)}
        return poses

    def _some(
        self,
        waiting: dict[str, list[int]],
        frames: Sequence[Frame] | Frame,
        poses: Pose,
        origins: Sequence[tuple[str, int]],
        pixel_format: PixelFormat,
    ) -> dict[str, int]:
        """Fill in the poses of the first frames of each camera that waits; gives of how many."""
        windows: dict[int, Window] = {}
        for name, indices in waiting.items():
            found = self._camera(name).windows([origins[index][1] for index in indices])
            windows.update(zip(indices, found, strict=False))
        answers = self._ask_windows(windows, frames, pixel_format)
        done = dict.fromkeys(waiting, 0)
        whole: list[int] = []
        checks: dict[int, Pose] = {}
        for name, indices in waiting.items():
            camera = self._camera(name)
            if indices[0] not in windows:  # no more at a time than went before, as the animal may come back
                done[name] = min(len(indices), max(1, camera.whole_run))
                whole += indices[: done[name]]
                continue
            for index in indices:
                if index not in windows:
                    break
                done[name] += 1
                trusted = camera.follower.trusts(windows[index], answers[index])
                if trusted and camera.follower.check_due:
                    checks[index] = answers[index]
                if not trusted or camera.follower.check_due:
                    whole.append(index)
                    break
                poses[index] = answers[index]
                camera.take(answers[index], origins[index][1], whole=False)
        for index, pose in zip(whole, self._ask_whole(whole, frames, pixel_format), strict=True):
            name, number = origins[index]
            camera = self._camera(name)
            poses[index] = pose
            camera.take(pose, number, whole=True)
            if index in checks:
                camera.counts.checks += 1
                camera.counts.disagreed += self._differ(checks[index], pose)
        return done

    def _camera(self, name: str) -> _Camera:
        if name not in self._cameras:
            self._cameras[name] = _Camera(Follower(self._settings, self._width, self._height))
        return self._cameras[name]

    def _ask_windows(
        self, windows: dict[int, Window], frames: Sequence[Frame] | Frame, pixel_format: PixelFormat
    ) -> dict[int, Pose]:
        """Poses in pixels of the frame, by the frames' indices; the windows of a size are asked together."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, window in windows.items():
            by_size.setdefault((window.height, window.width, frames[index].shape[2]), []).append(index)
        found: dict[int, Pose] = {}
        for shape, indices in by_size.items():
            cuts = self._cuts.setdefault(shape, np.empty((self._batch_size, *shape), np.uint8))
            for cut, index in zip(cuts, indices, strict=False):
                cut[:] = windows[index].cut(frames[index])
            answers = self._ask(cuts[: len(indices)], pixel_format)
            found |= {index: windows[index].to_frame(pose) for index, pose in zip(indices, answers, strict=True)}
        return found

    def _ask_whole(self, indices: list[int], frames: Sequence[Frame] | Frame, pixel_format: PixelFormat) -> Pose:
        if not indices:
            return np.empty((0, len(self._engine.bodyparts), 3), np.float32)
        if len(indices) == 1:  # no copy: a view of the memory that the socket filled
            return self._ask(frames[indices[0]][None], pixel_format)
        return self._ask(np.stack([frames[index] for index in indices]), pixel_format)

    def _ask(self, frames: Frame, pixel_format: PixelFormat) -> Pose:
        _, height, width, _ = frames.shape
        self._prepare(height, width, pixel_format, 1 if len(frames) == 1 else self._batch_size)
        return self._engine.run(frames, pixel_format)

    def _prepare(self, height: int, width: int, pixel_format: PixelFormat, largest: int) -> None:
        if (key := (height, width, pixel_format, largest)) not in self._prepared:
            self._engine.prepare(height, width, pixel_format, [largest])
            self._prepared.add(key)

    def _differ(self, pose: Pose, whole: Pose) -> bool:
        confident = whole[:, 2] >= self._settings.threshold
        return bool((np.hypot(*(pose - whole)[confident, :2].T) > AGREE_PX).any())
