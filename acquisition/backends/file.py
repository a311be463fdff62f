"""A recorded video as a camera: at its own pace, at another, or as fast as inference takes it.

Nothing of a file is lost: a frame that was read late comes late. The pixels are those that OpenCV's `VideoCapture`
gives, which DeepLabCut reads with, upright where the file says how it was held; the tests compare them.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from msgspec import Meta
from numpy.typing import NDArray

from posestream.acquisition.camera import CameraError, CameraFormat, CameraSettings, Capture, EndOfStream
from posestream.stream.disk.video_files import decode_packets, open_video, upright, upright_size, why_unreadable
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.messages import PixelFormat

__all__ = ["FileCamera", "FileSettings", "convert"]

FALLBACK_RATE_HZ = 30.0
"""For the rare file that says nothing of its frame rate."""
PYAV_FORMATS: dict[PixelFormat, str] = {"gray8": "gray", "rgb24": "rgb24", "bgr24": "bgr24"}


class FileSettings(CameraSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the file camera."""

    path: Path
    """The video: whatever FFmpeg reads."""
    pace: Literal["native", "inference"] | Annotated[float, Meta(gt=0)] = "native"
    """`native`: by the video's own times. A number: so many frames a second. `inference`: as fast as it is taken."""
    pixel_format: Literal["auto"] | PixelFormat = "auto"
    """`auto` is `gray8` where the video itself is grey, else `rgb24`."""
    loop: bool = False
    """Begin again at the end, without end; numbers and times go on."""
    start: Annotated[int, Meta(ge=0)] = 0
    """Index of the first frame to be delivered."""
    frames: Annotated[int, Meta(ge=1)] | None = None
    """How many frames to deliver at most, all loops together."""


class _Decoded(NamedTuple):
    """A decoded frame that waits for its time."""

    frame: av.VideoFrame
    device_id: int
    """Number of the frame in the video, going on over loops."""
    device_time: int | None
    """Ticks of the stream, going on over loops."""
    presentation_ns: int
    """Since the first frame."""


class FileCamera:
    """The camera backend `file`.

    Parameters
    ----------
    settings
        What the rig says.
    clock
        Gives nanoseconds; `posestream.stream.wire.clock.monotonic_ns` or, in tests, a stand-in.
    sleep
        Waits for seconds of that clock.
    """

    Settings = FileSettings

    def __init__(
        self,
        settings: FileSettings,
        clock: Callable[[], int] = monotonic_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._reformatter = VideoReformatter()
        self._container: av.container.InputContainer | None = None
        self._decoded: Iterator[_Decoded] | None = None
        self._next: _Decoded | None = None
        self._format: CameraFormat | None = None
        self._rate_hz = FALLBACK_RATE_HZ
        self._start_ns: int | None = None

    def open(self) -> CameraFormat:
        """Open the video and decode its first frame.

        Returns
        -------
        CameraFormat
            Size and rate of the video; `tick_ns` is its time base.

        Raises
        ------
        CameraError
            Where the file is absent, is no video, or has no frame that can be decoded.
        """
        options = self._settings
        self._decoded = self._decode()
        try:
            self._next = next(self._decoded, None)
        except CameraError:
            self.stop()
            raise
        if self._next is None or self._container is None:
            self.stop()
            raise CameraError(f"{options.path}: has no frame {options.start}; the video ends before it")
        stream, frame = self._container.streams.video[0], self._next.frame
        pixel_format = options.pixel_format
        if pixel_format == "auto":
            pixel_format = "gray8" if frame.format.name.startswith("gray") else "rgb24"
        width, height = upright_size(frame)
        self._format = CameraFormat(
            height=height,
            width=width,
            pixel_format=pixel_format,
            rate_hz=self._rate_hz,
            tick_ns=None if stream.time_base is None else float(stream.time_base * 1_000_000_000),
            reconnects=False,
            waits_for_inference=options.pace == "inference",
            description=f"{options.path} ({stream.codec_context.name}, {frame.format.name})",
        )
        return self._format

    def start(self) -> None:
        """Begin to play: the first frame is due now.

        Raises
        ------
        CameraError
            Where it is not open.
        """
        if self._format is None:
            raise CameraError(f"{self._settings.path}: was started before it was opened")
        self._start_ns = self._clock()

    def read(self, out: NDArray[np.uint8], timeout_s: float) -> Capture | None:
        """Wait until the next frame is due and put it into `out`.

        Parameters
        ----------
        out
            (height, width, channels) uint8, contiguous.
        timeout_s
            How long to wait at most, seconds.

        Returns
        -------
        Capture or None
            `captured_ns` is when the frame was due, or now if that has passed; `presentation_ns` is its time since
            the first frame, by the video or by the given rate. None where no frame was due in time.

        Raises
        ------
        EndOfStream
            After the last frame.
        CameraError
            Where a frame can't be decoded, or was not started.
        """
        if self._decoded is None or self._format is None or self._start_ns is None:
            raise CameraError(f"{self._settings.path}: was read before it was started")
        deadline_ns = self._clock() + round(timeout_s * 1e9)
        if self._next is None:
            self._next = next(self._decoded, None)
        if self._next is None:
            raise EndOfStream
        due_ns = self._start_ns + self._next.presentation_ns
        waits = self._settings.pace != "inference"
        if waits and due_ns > deadline_ns:
            self._wait(deadline_ns)
            return None
        # Converted before it is due, so that the work of converting is no part of the latency
        convert(self._next.frame, self._reformatter, self._format, out)
        captured_ns = self._clock()
        if waits and captured_ns <= due_ns:
            self._wait(due_ns)
            captured_ns = due_ns
        capture = Capture(
            captured_ns=captured_ns,
            device_id=self._next.device_id,
            device_time=self._next.device_time,
            presentation_ns=self._next.presentation_ns,
        )
        self._next = None
        return capture

    def stop(self) -> None:
        """Close the file."""
        self._decoded = self._next = self._format = self._start_ns = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _decode(self) -> Iterator[_Decoded]:
        """Decode the video, over and over if asked, and number the frames and their times."""
        options = self._settings
        delivered, first_index, ticks, start_ns = 0, 0, 0, 0
        while True:
            stream = self._open_stream()
            tick_ns = None if stream.time_base is None else float(stream.time_base * 1_000_000_000)
            rate_hz = self._rate_hz = self._rate_of(stream)
            first_pts: int | None = None
            shown_ns: float | None = None
            count = 0
            for frame_seq, frame in enumerate(self._frames(stream)):
                count = frame_seq + 1
                if frame_seq < options.start:
                    continue
                if first_pts is None:
                    first_pts = frame.pts
                following_ns = 0.0 if shown_ns is None else shown_ns + 1e9 / rate_hz
                at_ns = following_ns
                if not isinstance(options.pace, str):
                    at_ns = (frame_seq - options.start) * 1e9 / rate_hz
                elif frame.pts is not None and first_pts is not None and tick_ns is not None:
                    own_ns = (frame.pts - first_pts) * tick_ns
                    # A time that does not come after the one before is none; the frame then follows at the usual rate
                    at_ns = own_ns if shown_ns is None or own_ns > shown_ns else following_ns
                shown_ns = at_ns
                device_time = None if frame.pts is None else frame.pts + ticks
                yield _Decoded(frame, first_index + frame_seq, device_time, start_ns + round(at_ns))
                delivered += 1
                if delivered == options.frames:
                    return
            if shown_ns is None or not options.loop:
                return
            length_ns = shown_ns + 1e9 / rate_hz
            start_ns += round(length_ns)
            ticks += 0 if tick_ns is None else round(length_ns / tick_ns)
            first_index += count

    def _open_stream(self) -> av.VideoStream:
        path = self._settings.path
        if self._container is not None:
            self._container.close()
        try:
            self._container = open_video(path)
        except (av.FFmpegError, OSError) as error:
            raise CameraError(f"{path}: {why_unreadable(path, error)}") from error
        if not self._container.streams.video:
            raise CameraError(
                f"{path}: it has no pictures, only {', '.join(s.type for s in self._container.streams) or 'nothing'}"
            )
        return self._container.streams.video[0]

    def _frames(self, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        assert self._container is not None  # noqa: S101 - for the type checker
        frame_seq = 0
        try:
            for _, frames, why in decode_packets(self._container, stream):
                if why:
                    raise CameraError(f"{self._settings.path}: frame {frame_seq} can't be decoded ({why})")
                for frame in frames:
                    if frame.is_corrupt:
                        raise CameraError(f"{self._settings.path}: frame {frame_seq} is damaged")
                    self._check_size(frame, frame_seq)
                    yield frame
                    frame_seq += 1
        except av.FFmpegError as error:
            raise CameraError(f"{self._settings.path}: frame {frame_seq} can't be read ({error.strerror})") from error
        if frame_seq == 0:
            raise CameraError(f"{self._settings.path}: has no frame that can be decoded")

    def _check_size(self, frame: av.VideoFrame, frame_seq: int) -> None:
        expected, (width, height) = self._format, upright_size(frame)
        if expected is not None and (width, height) != (expected.width, expected.height):
            raise CameraError(
                f"{self._settings.path}: frame {frame_seq} is {width}x{height}, "
                f"those before were {expected.width}x{expected.height}"
            )

    def _rate_of(self, stream: av.VideoStream) -> float:
        if not isinstance(self._settings.pace, str):
            return self._settings.pace
        return float(stream.average_rate or stream.guessed_rate or FALLBACK_RATE_HZ)

    def _wait(self, until_ns: int) -> None:
        while (left_ns := until_ns - self._clock()) > 0:
            self._sleep(left_ns / 1e9)


def convert(
    frame: av.VideoFrame, reformatter: VideoReformatter, camera_format: CameraFormat, out: NDArray[np.uint8]
) -> None:
    """Put a decoded frame, upright, into `out`, (height, width, channels) uint8, in the camera's pixel format."""
    # Bicubic is what OpenCV converts with: with it, the pixels are equal to the last bit
    converted = reformatter.reformat(
        frame, format=PYAV_FORMATS[camera_format.pixel_format], interpolation=Interpolation.BICUBIC
    )
    np.copyto(out, upright(frame, converted.to_ndarray()).reshape(camera_format.shape))
