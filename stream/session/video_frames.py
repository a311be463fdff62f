"""Reads chosen frames of a recorded video, and passes over long stretches that nobody asks for.

Frames are known by their presentation times, which stand in `frames.csv`: so a frame is the right one after a jump,
and after a stretch that is damaged.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.stream.disk.video_files import UnreadableError, decode_packets, reading_video
from posestream.stream.session.video_times import TOLERANCE_US
from posestream.stream.wire.messages import PixelFormat

__all__ = ["VideoFrames"]

JUMP_US = 5_000_000
"""Microseconds without a wanted frame over which to jump; keyframes are a second apart unless the rig says else."""
PYAV_FORMATS: dict[PixelFormat, str] = {"gray8": "gray", "rgb24": "rgb24", "bgr24": "bgr24"}


class VideoFrames:
    """Decodes chosen frames of a video, once, in their order.

    Parameters
    ----------
    video
        The file.
    times_us
        (frames,) presentation time of every frame of the video, rising, microseconds.
    wanted
        Indices of the frames to give, rising.
    pixel_format
        In which to give them.
    """

    def __init__(
        self, video: Path, times_us: NDArray[np.int64], wanted: NDArray[np.int64], pixel_format: PixelFormat
    ) -> None:
        self._video, self._times_us, self._wanted = video, times_us, wanted
        self._format = PYAV_FORMATS[pixel_format]
        self._tolerance_us = TOLERANCE_US[video.suffix]
        # Else times do not tell frames apart, and frames are counted from the beginning.
        self._told_apart = not (np.diff(times_us) <= 2 * self._tolerance_us).any()
        self.decoded = 0
        """Frames that went through the decoder, given or not."""
        self.problem = ""
        """What is wrong with the video; empty where nothing was found to be."""

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Give index and pixels, uint8 (height, width, channels), of each wanted frame that can be decoded."""
        try:
            with reading_video(self._video) as (container, stream):
                for stretch in self._stretches():
                    yield from self._stretch(container, stream, stretch)
        except UnreadableError as error:
            self._note(f"can't be read: {error.why}")

    def _note(self, problem: str) -> None:
        self.problem = self.problem or f"{self._video.name} {problem}"

    def _stretches(self) -> list[NDArray[np.int64]]:
        """Wanted frames, parted where it is quicker to jump than to decode what lies between."""
        if not len(self._wanted) or not self._told_apart:
            return [self._wanted] if len(self._wanted) else []
        return np.split(self._wanted, np.flatnonzero(np.diff(self._times_us[self._wanted]) > JUMP_US) + 1)

    def _stretch(
        self, container: Any, stream: Any, wanted: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        left = set(wanted.tolist())
        if self._told_apart and self._times_us[wanted[0]] > JUMP_US:  # to the keyframe before
            container.seek(int(self._times_us[wanted[0]] / 1_000_000 / stream.time_base), stream=stream)
        for number, frame in enumerate(self._sound_frames(container, stream)):
            self.decoded += 1
            if self.problem and not self._told_apart:
                return
            index = self._index_of(float(frame.pts * stream.time_base * 1_000_000)) if self._told_apart else number
            if index is None:
                self._note("has a frame at a time that frames.csv does not know")
            elif index in left:
                left.remove(index)
                yield index, self._pixels(frame)
            if not left or (index is not None and index >= wanted[-1]):
                return

    def _index_of(self, time_us: float) -> int | None:
        place = int(np.searchsorted(self._times_us, time_us - self._tolerance_us))
        if place < len(self._times_us) and abs(self._times_us[place] - time_us) <= self._tolerance_us:
            return place
        return None

    def _sound_frames(self, container: Any, stream: Any) -> Iterator[Any]:
        """Frames that were decoded without damage to them or to any frame that they were predicted from."""
        sound = True
        for _, frames, why in decode_packets(container, stream):
            if why:
                sound = False
                self._note(f"is damaged: {why}")
            for frame in frames:
                if frame.is_corrupt:
                    sound = False
                    self._note("has damaged frames")
                elif frame.key_frame:
                    sound = True
                if sound and frame.pts is not None:
                    yield frame

    def _pixels(self, frame: Any) -> NDArray[np.uint8]:
        pixels = np.asarray(frame.to_ndarray(format=self._format, interpolation="BICUBIC"), np.uint8)
        return pixels[..., None] if pixels.ndim == 2 else pixels
