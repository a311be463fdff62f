"""Opens video files with FFmpeg as files and as videos alone.

FFmpeg looks at the content, not the name: a text that calls itself a playlist names other files, on this machine or
elsewhere, and a name such as `concat:a|b` or `http:...` is no file's. So what it may take a file for is a container
of video, and the only protocol is the file itself.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["open_video"]

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
