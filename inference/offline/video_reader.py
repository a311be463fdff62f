"""Reads a video from its beginning to its end, as DeepLabCut's reader (OpenCV) shows it.

Frames are RGB, upright, and counted as they come out of the decoder, whatever the container says. Those without colour
come as their brightness alone, which is what each of the three channels would be: converting them takes a tenth of the
time, and the network's answer is the same.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import VideoError
from posestream.stream.disk.video_files import decode_packets, open_video, upright, upright_size, why_unreadable

__all__ = ["VideoReader"]

Pixels = NDArray[np.uint8]

PLANAR = {"gray", "yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"}
"""Formats that have the brightness in a plane of its own, eight bits a pixel."""
NEUTRAL = 128
"""Chroma of a pixel without colour."""


class VideoReader:
    """The frames of a video, once, in their order.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    width, height : int
        Of the upright frame, pixels.
    rate_hz : float
        Frames a second, as the container says; 0 where it says nothing.
    expected : int
        Frames as far as one knows before the end; 0 where the container says nothing.

    Raises
    ------
    VideoError
        It is absent, no video, or not one frame of it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        import av.error

        self._path, self._problem = path, ""
        self._lost = self._damaged = self._packets = 0
        self._tables: dict[tuple[Any, ...], Pixels] = {}
        try:
            self._container = open_video(path)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{path}: {why_unreadable(path, error)}") from error
        try:
            self._open()
        except BaseException:
            self._container.close()
            raise

    def _open(self) -> None:
        stream: Any = self._container.streams.best("video")
        if stream is None:
            raise VideoError(f"{self._path}: it has no video stream")
        self._stream = stream
        self._stream.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate_hz = float(rate or 0)
        seconds = Fraction(self._container.duration or 0, 1_000_000)
        self.expected = self._stream.frames or round(seconds * (rate or 0))
        self._frames = self._decoded()
        self._next: Any = next(self._frames, None)
        if self._next is None:
            raise VideoError(f"{self._path}: it has no frame that can be decoded{self._reason()}")
        self.width, self.height = upright_size(self._next)
        self._size = self._next.width, self._next.height

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def problem(self) -> str:
        """What is wrong with the video, as far as it was read, for people; empty where nothing is."""
        said = [self._problem] if self._problem else []
        if self._lost:
            said.append(f"{self._lost} frames can't be decoded, so those behind have lower numbers")
        if self._damaged:
            said.append(f"{self._damaged} frames are damaged")
        return f"{self._path}: {', '.join(said)}" if said else ""

    def frames(self, first: int = 0) -> Iterator[tuple[int, Pixels]]:
        """Give number and pixels of each frame, uint8 (height, width, 3), or (height, width, 1) where it has no colour.

        Once a frame had colour, all that follow have three channels. What is given may be the decoder's own memory: it
        holds until the next frame is asked for. Frames before `first` are decoded and passed over.
        """
        number, coloured = 0, False
        frame = self._next
        while frame is not None:
            if (frame.width, frame.height) != self._size:
                size = f"{frame.width}x{frame.height} instead of {self._size[0]}x{self._size[1]}"
                self._problem = f"frame {number} is {size} pixels, and it was read no further"
                return
            if number >= first:
                pixels = None if coloured else self._brightness(frame)
                if pixels is None:
                    coloured = True
                    pixels = frame.to_ndarray(format="rgb24")
                yield number, upright(frame, pixels)
            number += 1
            frame = next(self._frames, None)

    def _decoded(self) -> Iterator[Any]:
        import av.error

        try:
            for packet, frames, why in decode_packets(self._container, self._stream):
                self._packets += packet.size > 0
                self._lost += bool(why)
                for frame in frames:
                    self._damaged += frame.is_corrupt
                    yield frame
        except (av.error.FFmpegError, OSError) as error:
            self._problem = f"it can't be read further: {error}"
            return
        listed = self._stream.frames if "mp4" in self._container.format.name else 0
        if self._packets < listed:
            self._problem = f"it is cut short: of {listed} frames {self._packets} are there"

    def _reason(self) -> str:
        return f" ({self._problem})" if self._problem else ""

    def _brightness(self, frame: Any) -> Pixels | None:
        """Grey values of a frame that has no colour, (H, W, 1); None where it has."""
        if frame.format.name not in PLANAR:
            return None
        if any((_plane(plane) != NEUTRAL).any() for plane in frame.planes[1:]):
            return None
        table = self._table(frame)
        luma = _plane(frame.planes[0])
        if table is None:
            return luma[..., None]
        import cv2

        return np.asarray(cv2.LUT(luma, table), np.uint8)[..., None]

    def _table(self, frame: Any) -> Pixels | None:
        """Look up what FFmpeg makes of each brightness; None where it leaves it."""
        import av

        key = (frame.format.name, frame.color_range, frame.colorspace)
        if key not in self._tables:
            ramp = av.VideoFrame(256, 2, frame.format.name)
            ramp.color_range, ramp.colorspace = frame.color_range, frame.colorspace
            for plane in ramp.planes:
                plane.update(np.full(plane.buffer_size, NEUTRAL, np.uint8).tobytes())
            luma = np.zeros((2, ramp.planes[0].line_size), np.uint8)
            luma[:, :256] = np.arange(256)
            ramp.planes[0].update(luma.tobytes())
            self._tables[key] = np.array(ramp.to_ndarray(format="rgb24")[0, :, 0], np.uint8)
        table = self._tables[key]
        return None if (table == np.arange(256)).all() else table


def _plane(plane: Any) -> Pixels:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
