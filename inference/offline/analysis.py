"""Poses of a whole video: decoded in one thread, inferred in another, batch by batch."""

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine
from posestream.inference.offline.video_batches import VideoBatches
from posestream.inference.offline.video_reader import VideoReader
from posestream.inference.windows.crop_window_run import CropWindowRun
from posestream.inference.windows.framing import Framing
from posestream.stream.wire.messages import PixelFormat

__all__ = ["video_poses"]


def video_poses(
    engine: Engine,
    reader: VideoReader,
    batch_size: int,
    framing: Framing | None = None,
    first: int = 0,
    windows: CropWindowRun | None = None,
) -> Generator[NDArray[np.float64], None, None]:
    """Estimate the poses of a video's frames, in their order.

    Close this generator (`contextlib.closing`) where it is not taken to its end: it owns a thread.

    Parameters
    ----------
    engine
        What computes; it is prepared here for the frames that come.
    reader
        The video.
    batch_size
        Frames that are inferred together.
    framing
        What of the frames the network sees; by default all.
    first
        Number of the first frame that is to have a pose.
    windows
        Runs the engine on crop windows in what the network sees, where given.

    Yields
    ------
    NDArray[np.float64]
        (B, K, 3) for each batch, B being smaller for the last: x and y in pixels of the video, likelihood.

    Raises
    ------
    VideoError
        The region that the network is to see is not within the frames.
    ModelError
        The engine cannot run such frames.
    """
    framing = framing or Framing()
    width, height = framing.size(reader.width, reader.height)
    prepared: set[PixelFormat] = set()
    frames = ((number, framing.cut(pixels)) for number, pixels in reader.frames(first))
    with VideoBatches(frames, batch_size) as batches:
        for _, pixels in batches:
            pixel_format: PixelFormat = "gray8" if pixels.shape[3] == 1 else "rgb24"
            if windows is not None:
                poses = windows.run(pixels, pixel_format)
            else:
                if pixel_format not in prepared:
                    engine.prepare(height, width, pixel_format, [batch_size])
                    prepared.add(pixel_format)
                poses = engine.run(pixels, pixel_format)
            yield framing.to_video(poses, reader.width, reader.height)
