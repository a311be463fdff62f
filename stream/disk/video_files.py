"""Opens video files with FFmpeg as files and as videos alone.

FFmpeg looks at the content, not the name: a text that calls itself a playlist names other files, on this machine or
elsewhere, and a name such as `concat:a|b` or `http:...` is no file's. So what it may take a file for is a container
of video, and the only protocol is the file itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["open_video", "why_unreadable"]

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,asf,flv,ogg,mjpeg,h264,hevc,ivf,av1,"
    "yuv4mpegpipe,gif,apng,nut,mxf,dv,wtv,swf,wav,mp3,flac,aac"
)
"""FFmpeg's names of demuxers that read the one file that they are given."""


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
