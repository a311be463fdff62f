"""The presentation times of a video's frames, found by decoding every one of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posestream.stream.wire.video_files import open_video

__all__ = ["TOLERANCE_US", "decoded_times_us"]

TOLERANCE_US = {".mp4": 1, ".mkv": 500}
"""Microseconds by which a container rounds times: Matroska counts milliseconds."""


def decoded_times_us(video: Path) -> tuple[NDArray[np.int64], str]:
    """Decode a video to its end.

    Parameters
    ----------
    video
        The file.

    Returns
    -------
    times_us
        (frames,) int64: presentation time of every frame that a player shows, damaged ones among them, microseconds.
    problem
        What is damaged; empty where nothing is.
    """
    import av.error

    times: list[int] = []
    problem = ""
    try:
        with open_video(video) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            base = stream.time_base
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError as error:
                    problem = problem or f"{video.name}: frame {len(times)} can't be decoded: {error}"
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        problem = problem or f"{video.name}: frame {len(times)} is damaged"
                    if frame.pts is None or base is None:
                        times.append(-1)
                    else:
                        times.append(round(frame.pts * base * 1_000_000))
    except (av.error.FFmpegError, OSError, IndexError) as error:
        return np.array(times, np.int64), f"{video.name}: frame {len(times)} can't be decoded: {error}"
    return np.array(times, np.int64), problem
