"""The presentation times of a video's frames, found by decoding every one of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["decoded_times_us"]


def decoded_times_us(video: Path) -> tuple[NDArray[np.int64], str]:
    """Decode a video to its end.

    Parameters
    ----------
    video
        The file.

    Returns
    -------
    times_us
        (frames,) int64: presentation time of every frame that can be decoded, microseconds.
    problem
        Why the decoding ended early; empty where it reached the end.
    """
    import av
    import av.error

    times: list[int] = []
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            base = stream.time_base
            for frame in container.decode(stream):
                times.append(round(frame.pts * base * 1_000_000) if frame.pts is not None and base is not None else -1)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        return np.array(times, np.int64), f"{video.name}: frame {len(times)} can't be decoded: {error}"
    return np.array(times, np.int64), ""
