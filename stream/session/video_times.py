"""The presentation times and checksums of a video's frames, found by decoding every one of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.stream.disk.packets import packet_crc32
from posestream.stream.disk.video_files import UnreadableError, decode_packets, reading_video

__all__ = ["TOLERANCE_US", "DecodedVideo", "decode_video"]

TOLERANCE_US = {".mp4": 1, ".mkv": 500}
"""Microseconds by which a container rounds times: Matroska counts milliseconds."""


@dataclass(frozen=True, eq=False)
class DecodedVideo:
    """What the frames of a video are, damaged ones among them, in the order in which a player shows them."""

    times_us: NDArray[np.int64]
    """(frames,) int64: presentation times, microseconds; -1 where a frame has none."""
    crc32: NDArray[np.int64]
    """(frames,) int64: checksum of each frame's packet (`posestream.stream.disk.packets`); -1 where it has none."""
    problem: str
    """What is damaged; empty where nothing is."""


def decode_video(video: Path) -> DecodedVideo:
    """Decode a video to its end.

    Parameters
    ----------
    video
        The file.
    """
    times: list[int] = []
    pts_of: list[int | None] = []
    sums: dict[int | None, int] = {}
    problem = ""
    try:
        with reading_video(video) as (container, stream):
            base = stream.time_base
            for packet, frames, why in decode_packets(container, stream):
                sums |= _checksum(packet, stream.codec_context)
                if why:
                    problem = problem or f"{video.name}: frame {len(times)} can't be decoded: {why}"
                for frame in frames:
                    if frame.is_corrupt:
                        problem = problem or f"{video.name}: frame {len(times)} is damaged"
                    pts_of.append(frame.pts)
                    times.append(-1 if frame.pts is None or base is None else round(frame.pts * base * 1_000_000))
    except UnreadableError as unreadable:
        why = f"frame {len(times)} can't be decoded: {unreadable.error}" if times else unreadable.why
        problem = f"{video.name}: {why}"
    crc32 = [sums.get(pts, -1) for pts in pts_of]
    return DecodedVideo(np.array(times, np.int64), np.array(crc32, np.int64), problem)


def _checksum(packet: Any, codec: Any) -> dict[int | None, int]:
    """Checksum of a packet by its time; nothing of the empty one at the end."""
    if not packet.size:
        return {}
    return {packet.pts: packet_crc32(bytes(packet), codec.codec.canonical_name, codec.extradata)}
