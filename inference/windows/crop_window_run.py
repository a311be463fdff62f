"""Runs an engine on windows that follow an animal: one in the frames of each camera, several frames at a time.

Where an animal will be in the frames of a batch is predicted before any of them is inferred. So the poses of a camera
are looked at in order: poses are accepted up to the first untrusted one; that frame is run again whole, and the frames
after it get new windows. What several cameras need at a time, windows of one size or whole frames, runs in one batch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine
from posestream.inference.windows.camera_window import CameraWindow, CropWindowCounts
from posestream.inference.windows.crop_window import CropWindow, CropWindowFollower, CropWindowSettings
from posestream.stream.wire.messages import PixelFormat

__all__ = ["CropWindowRun"]

Pixels = NDArray[np.uint8]
Pose = NDArray[np.float32]


class CropWindowRun:
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

    def __init__(self, engine: Engine, settings: CropWindowSettings, width: int, height: int, batch_size: int) -> None:
        self._engine, self._settings, self._batch_size = engine, settings, batch_size
        self._width, self._height = width, height
        self._cameras: dict[str, CameraWindow] = {}
        self._prepared: set[tuple[int, int, PixelFormat, int]] = set()
        self._cuts: dict[tuple[int, ...], Pixels] = {}

    @property
    def counts(self) -> CropWindowCounts:
        """How often a window was enough, over all cameras."""
        total = CropWindowCounts()
        for camera in list(self._cameras.values()):
            total.add(camera.counts)
        return total

    def counts_of(self, camera: str) -> CropWindowCounts:
        """How often a window was enough for one camera."""
        known = self._cameras.get(camera)
        return known.counts if known is not None else CropWindowCounts()

    def prepare(self, pixel_format: PixelFormat) -> None:
        """Compile and warm up every size of window; without it, each is compiled when it first comes.

        Raises
        ------
        ModelError
            The engine cannot run such frames.
        """
        follower = CropWindowFollower(self._settings, self._width, self._height)
        for width, height in ((self._width, self._height), *follower.sizes):
            for largest in {1, self._batch_size}:
                self._prepare(height, width, pixel_format, largest)

    def run(
        self,
        frames: Sequence[Pixels] | Pixels,
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
        frames: Sequence[Pixels] | Pixels,
        poses: Pose,
        origins: Sequence[tuple[str, int]],
        pixel_format: PixelFormat,
    ) -> dict[str, int]:
        """Fill in the poses of the first frames of each camera that waits; return how many frames per camera."""
        found = {
            name: self._camera(name).windows([origins[index][1] for index in indices])
            for name, indices in waiting.items()
        }
        windows = {
            index: window
            for name, indices in waiting.items()
            for index, window in zip(indices, found[name], strict=False)
        }
        answers = self._run_windows(windows, frames, pixel_format)
        done: dict[str, int] = {}
        whole: list[int] = []
        for name, indices in waiting.items():
            camera, looked = self._camera(name), indices[: len(found[name])]
            taken = camera.accept([(windows[index], answers[index], origins[index][1]) for index in looked])
            for index in looked[:taken]:
                poses[index] = answers[index]
            # Of a lost animal no more whole frames at a time than went before, as it may come back
            again = looked[taken : taken + 1] if looked else indices[: max(1, camera.whole_run)]
            done[name] = taken + len(again)
            whole += again
        for index, pose in zip(whole, self._run_whole(whole, frames, pixel_format), strict=True):
            name, number = origins[index]
            camera = self._camera(name)
            if index in windows:
                camera.compare(windows[index], answers[index], pose)
            poses[index] = pose
            camera.take(pose, number, whole=True)
        return done

    def _camera(self, name: str) -> CameraWindow:
        if name not in self._cameras:
            self._cameras[name] = CameraWindow(CropWindowFollower(self._settings, self._width, self._height))
        return self._cameras[name]

    def _run_windows(
        self, windows: dict[int, CropWindow], frames: Sequence[Pixels] | Pixels, pixel_format: PixelFormat
    ) -> dict[int, Pose]:
        """Poses in pixels of the frame, by the frames' indices; windows of one size run together."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, window in windows.items():
            by_size.setdefault((window.height, window.width, frames[index].shape[2]), []).append(index)
        found: dict[int, Pose] = {}
        for shape, indices in by_size.items():
            cuts = self._cuts.setdefault(shape, np.empty((self._batch_size, *shape), np.uint8))
            for cut, index in zip(cuts, indices, strict=False):
                cut[:] = windows[index].cut(frames[index])
            answers = self._run_engine(cuts[: len(indices)], pixel_format)
            found |= {index: windows[index].to_frame(pose) for index, pose in zip(indices, answers, strict=True)}
        return found

    def _run_whole(self, indices: list[int], frames: Sequence[Pixels] | Pixels, pixel_format: PixelFormat) -> Pose:
        if not indices:
            return np.empty((0, len(self._engine.bodyparts), 3), np.float32)
        if len(indices) == 1:  # no copy: a view of the memory that the socket filled
            return self._run_engine(frames[indices[0]][None], pixel_format)
        return self._run_engine(np.stack([frames[index] for index in indices]), pixel_format)

    def _run_engine(self, frames: Pixels, pixel_format: PixelFormat) -> Pose:
        _, height, width, _ = frames.shape
        self._prepare(height, width, pixel_format, 1 if len(frames) == 1 else self._batch_size)
        return self._engine.run(frames, pixel_format)

    def _prepare(self, height: int, width: int, pixel_format: PixelFormat, largest: int) -> None:
        if (key := (height, width, pixel_format, largest)) not in self._prepared:
            self._engine.prepare(height, width, pixel_format, [largest])
            self._prepared.add(key)
