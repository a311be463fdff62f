"""What the tests of camera backends share: the contract, videos to play, a clock to turn."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from posestream.acquisition.camera import Camera, CameraFormat, Capture, EndOfStream, Pixels
from posestream.acquisition.contract import CameraContract, buffer_for, read_frame

__all__ = ["CameraContract", "FakeTime", "buffer_for", "read_all", "read_frame", "write_video"]


def read_all(camera: Camera, camera_format: CameraFormat, limit: int = 10_000) -> list[tuple[Capture, Pixels]]:
    """Read to the end of the stream."""
    frames = []
    for _ in range(limit):
        out = buffer_for(camera_format)
        try:
            frames.append((read_frame(camera, out), out))
        except EndOfStream:
            return frames
    pytest.fail(f"no end within {limit} frames")


def write_video(
    path: Path,
    count: int = 10,
    pts: Sequence[int] | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
) -> Path:
    """Write a video of 25 frames/s, or of the given times in ms, whose pictures differ."""
    rng = np.random.default_rng(5)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            picture = cv2.GaussianBlur(rng.integers(0, 255, (size[1], size[0], 3), np.uint8), (0, 0), 2)
            picture = cv2.normalize(picture, np.empty_like(picture), 0, 255, cv2.NORM_MINMAX)
            frame = av.VideoFrame.from_ndarray(np.asarray(picture, np.uint8), "rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = index * 40 if pts is None else pts[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class FakeTime:
    """A clock that moves only when someone sleeps on it."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_ns += max(1, round(seconds * 1e9))
