"""Small videos, and what can be decoded of one."""

import struct
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

__all__ = ["encode_video", "frames_in", "hold_sideways", "write_video"]

QUARTER_TURN = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
"""The matrix that an mp4 shows its pictures by."""


def write_video(path: Path, frames: int, height: int = 48, width: int = 64, rate: int = 30) -> Path:
    """A small video in which every frame differs."""
    rng = np.random.default_rng(0)

    def draw(number: int) -> NDArray[np.uint8]:
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(height // 6, 0).repeat(width // 8, 1)
        pixels[:4, :4] = number % 256
        return pixels

    return encode_video(path, map(draw, range(frames)), rate)


def encode_video(path: Path, frames: Iterable[NDArray[np.uint8]], rate: int = 30) -> Path:
    """A video of frames (height, width, 3)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "20"})
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width = pixels.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def frames_in(path: Path) -> int:
    """Frames of a video that can be decoded."""
    count = 0
    try:
        with av.open(str(path)) as container:
            for _ in container.decode(video=0):
                count += 1
    except av.error.FFmpegError:
        pass  # the last packet of a killed writer may be cut in the middle
    return count


def hold_sideways(path: Path) -> None:
    """Make an mp4 say that its pictures are to be shown turned by a quarter, as a telephone held upright does."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = QUARTER_TURN
    path.write_bytes(data)
