"""Opens video files with FFmpeg as files and as videos alone, and decodes them: the one place for what readers share.

FFmpeg looks at the content, not the name: a text that calls itself a playlist names other files, on this machine or
elsewhere, and a name such as `concat:a|b` or `http:...` is no file's. So what it may take a file for is a container
of video, and the only protocol is the file itself.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from posestream.stream.wire.errors import InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "UnreadableError",
    "decode_packets",
    "open_video",
    "reading_video",
    "upright",
    "upright_size",
    "why_unreadable",
]

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,asf,flv,ogg,mjpeg,h264,hevc,ivf,av1,"
    "yuv4mpegpipe,gif,apng,nut,mxf,dv,wtv,swf,wav,mp3,flac,aac"
)
"""FFmpeg's names of demuxers that read the one file that they are given."""


class UnreadableError(InputError):
    """A video that can't be opened or read; the text is for people.

    Parameters
    ----------
    path
        The file.
    error
        What FFmpeg or the system said.
    """

    def __init__(self, path: Path, error: Exception) -> None:
        self.error = error
        self.why = why_unreadable(path, error)
        """What follows the file's name."""
        super().__init__(f"{path}: {self.why}")


def open_video(path: Path) -> "InputContainer":
    """Open a video file to read it.

    Raises
    ------
    av.error.FFmpegError, OSError
        Where it can't be read, or is no video.
    """
    import av

    # an absolute path can't be taken for a protocol
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    return av.open(str(path.absolute()), options=options)


@contextlib.contextmanager
def reading_video(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """Open a video file for the block: its container, and its pictures, which several threads decode.

    Raises
    ------
    UnreadableError
        Where it can't be read, or is no video, be it when it is opened or within the block.
    """
    import av.error

    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise UnreadableError(path, error) from error


def decode_packets(container: "InputContainer", stream: "VideoStream") -> Iterator[tuple[Any, list[Any], str]]:
    """Give each packet from here on, its frames, and why it can't be decoded; empty where it can.

    What can't be decoded ends nothing: the packets behind it are given, too.

    Raises
    ------
    av.error.FFmpegError, OSError
        Where the file can't be read further.
    """
    import av.error

    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            yield packet, [], error.strerror or str(error)
        else:
            yield packet, frames, ""


def upright(frame: Any, pixels: Any) -> NDArray[np.uint8]:
    """Turn a frame's pixels, (height, width, ...), as its container says that they are to be shown; gives a view."""
    return np.asarray(np.rot90(pixels, frame.rotation // 90), np.uint8)


def upright_size(frame: Any) -> tuple[int, int]:
    """Give width and height, pixels, that a decoded frame has once it is upright."""
    return (frame.width, frame.height) if frame.rotation % 180 == 0 else (frame.height, frame.width)


def why_unreadable(path: Path, error: Exception | None = None) -> str:
    """Say for people why a video can't be opened, as what follows `PATH: `.

    Parameters
    ----------
    path
        The file.
    error
        What opening it raised, if that was tried.
    """
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "it is not a file"
    if path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, PermissionError):
        return "this user may not read it"
    if isinstance(error, IndexError):
        return "it has no pictures"
    return f"it is not a video, or is damaged ({getattr(error, 'strerror', None) or error})"
