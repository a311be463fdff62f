"""Network cameras (RTSP, HTTP), and what FFmpeg's devices give: v4l2, dshow, avfoundation, a screen, a test pattern.

A thread of the camera's own reads and decodes, since libav can't be told to wait for less than a stream takes. It
keeps the newest frames; each decoded frame has a number, so that one that was read too late, or came damaged, shows
as a gap. What was lost on the way before it could be decoded shows only in the times.
"""

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import av
import av.error
from av.codec.context import Flags
from av.device import enumerate_input_devices
from av.video.reformatter import VideoReformatter
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from posestream.acquisition.camera import CameraError, CameraFormat, Capture, EndOfStream, FoundCamera
from posestream.acquisition.file import convert
from posestream.acquisition.vocabulary import DeviceSettings, refuse_others
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.messages import PixelFormat

__all__ = ["LibavCamera", "LibavSettings"]

WAITING_FRAMES = 8
"""Decoded frames that wait to be read; a new one takes the place of the oldest."""
END_US = 500_000
"""A stream of known length that ends less than this before it, microseconds, has ended and is not lost."""
DEVICES = {"linux": "v4l2", "win32": "dshow", "darwin": "avfoundation"}
"""FFmpeg's format for the cameras that the system knows."""
TAKES = ("width", "height", "offset_x", "offset_y", "rate_hz", "pixel_format", "nodes")
SIZED = frozenset({"v4l2", "dshow", "avfoundation", "x11grab", "gdigrab"})
"""Formats that are told size and rate; a stream comes as its sender made it."""
OFFSETS = {"x11grab": ("grab_x", "grab_y"), "gdigrab": ("offset_x", "offset_y")}
PIXEL_FORMATS: tuple[PixelFormat, ...] = ("gray8", "rgb24", "bgr24")


class LibavSettings(DeviceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the av camera; `nodes` are FFmpeg's options for this format, by FFmpeg's names."""

    source: str
    """Address (`rtsp://`, `http://`), device (`/dev/video0`, `video=NAME` with dshow), screen (`:0`) or filter."""
    format: str | None = None
    """FFmpeg's input format: `v4l2`, `dshow`, `avfoundation`, `x11grab`, `gdigrab`, `lavfi`; none: found out."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP sends pictures: `udp` loses some on a bad network, `tcp` sends them again and comes late."""
    low_latency: bool = True
    """Give each picture as soon as it is decoded; false for a stream with B-frames."""
    connect_s: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds to wait for the first picture."""
    lost_s: Annotated[float, Meta(gt=0)] = 5.0
    """Seconds without data after which the stream counts as lost."""


class _Decoded(NamedTuple):
    frame: av.VideoFrame
    number: int
    ticks: int | None
    arrived_ns: int


class LibavCamera:
    """The camera backend `av`.

    Parameters
    ----------
    settings
        What the rig says.
    clock
        Gives nanoseconds; `posestream.stream.wire.clock.monotonic_ns` or, in tests, a stand-in.
    """

    Settings = LibavSettings

    def __init__(self, settings: LibavSettings, clock: Callable[[], int] = monotonic_ns) -> None:
        self._settings = settings
        self._clock = clock
        self._name = _without_password(settings.source)
        self._reformatter = VideoReformatter()
        self._format: CameraFormat | None = None
        self._reader: _Reader | None = None
        self._started = False

    @staticmethod
    def find() -> list[FoundCamera]:
        """List the cameras that the system knows; network cameras are found by their address."""
        form = DEVICES.get(sys.platform)
        if form is None:
            return []
        try:
            devices = enumerate_input_devices(form)
        except (av.FFmpegError, OSError, ValueError):  # v4l2 says so where there is no device at all
            return []
        prefix = "video=" if form == "dshow" else ""
        return [
            FoundCamera(
                description=device.description or device.name,
                serial=device.name,
                options={"source": prefix + device.name, "format": form},
            )
            for device in devices
            if "video" in device.media_types or not device.media_types
        ]

    def open(self) -> CameraFormat:
        """Connect and wait for the first picture.

        Returns
        -------
        CameraFormat
            Size and rate as the stream says; `tick_ns` is its time base, none where its pictures have no times.

        Raises
        ------
        CameraError
            Where it can't be reached, has no pictures, or was asked for what it can't do.
        """
        options = self._settings
        self.stop()
        refuse_others(options, TAKES, self._name)
        if options.pixel_format not in (None, "auto", *PIXEL_FORMATS):
            raise CameraError(
                f"{self._name}: has no pixel_format {options.pixel_format!r}; it gives auto, {', '.join(PIXEL_FORMATS)}"
            )
        try:
            container = av.open(
                options.source,
                format=options.format,
                options=self._libav_options(),
                timeout=(options.connect_s, options.lost_s),
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise CameraError(f"{self._name}: can't be opened: {_reason(error)}") from None
        if not container.streams.video:
            container.close()
            raise CameraError(f"{self._name}: has no pictures")
        self._reader = _Reader(container, self._name, options.low_latency, self._clock)
        first = self._reader.wait(options.connect_s)
        if first is None:
            self.stop()
            raise CameraError(f"{self._name}: gave no picture within {options.connect_s:g} s")
        self._format = self._describe(container.streams.video[0], first.frame, self._reader.tick_ns)
        return self._format

    def _libav_options(self) -> dict[str, str]:
        options, given = self._settings, {}
        if options.low_latency:
            given["fflags"] = "nobuffer"
        if urlsplit(options.source).scheme in ("rtsp", "rtsps"):
            given |= {"rtsp_transport": options.transport, "allowed_media_types": "video"}
        form = (options.format or "").split(",")[0]
        if form in SIZED:
            if options.width is not None and options.height is not None:
                given["video_size"] = f"{options.width}x{options.height}"
            if options.rate_hz is not None:
                given["framerate"] = f"{options.rate_hz:g}"
        offsets = (options.offset_x, options.offset_y)
        if form in OFFSETS:
            given |= {k: str(v) for k, v in zip(OFFSETS[form], offsets, strict=True) if v is not None}
        elif offsets != (None, None):
            raise CameraError(f"{self._name}: has no offset_x and offset_y; x11grab and gdigrab have")
        return given | {key: _text(value) for key, value in options.nodes.items()}

    def _describe(self, stream: av.VideoStream, frame: av.VideoFrame, tick_ns: float | None) -> CameraFormat:
        options, codec = self._settings, stream.codec_context.name
        asked = (options.width or frame.width, options.height or frame.height)
        if asked != (frame.width, frame.height):
            self.stop()
            raise CameraError(
                f"{self._name}: was asked for {asked[0]}x{asked[1]} pixels and gives {frame.width}x{frame.height}"
            )
        pixel_format: PixelFormat = "gray8" if frame.format.name.startswith("gray") else "rgb24"
        for known in PIXEL_FORMATS:
            pixel_format = known if options.pixel_format == known else pixel_format
        rate_hz = float(stream.average_rate or stream.guessed_rate or 0) or None
        warnings: tuple[str, ...] = ()
        if options.rate_hz is not None and (rate_hz is None or abs(rate_hz - options.rate_hz) > 0.01 * options.rate_hz):
            says = "does not say its rate" if rate_hz is None else f"says that it gives {rate_hz:g}"
            warnings = (f"{self._name} was asked for {options.rate_hz:g} frames/s and {says}",)
        took: dict[str, bool | int | float | str] = {"width": frame.width, "height": frame.height}
        return CameraFormat(
            height=frame.height,
            width=frame.width,
            pixel_format=pixel_format,
            rate_hz=rate_hz,
            tick_ns=tick_ns,
            description=f"{self._name} ({codec}, {frame.format.name})",
            settings=took | ({"rate_hz": rate_hz} if rate_hz else {}),
            warnings=warnings,
        )

    def start(self) -> None:
        """Begin to deliver: what arrived before is thrown away.

        Raises
        ------
        CameraError
            Where it is not open.
        """
        if self._reader is None or self._format is None:
            raise CameraError(f"{self._name}: was started before it was opened")
        self._reader.begin()
        self._started = True

    def read(self, out: NDArray[np.uint8], timeout_s: float) -> Capture | None:
        """Wait for the next picture and put it into `out`.

        Parameters
        ----------
        out
            (height, width, channels) uint8, contiguous.
        timeout_s
            How long to wait at most, seconds.

        Returns
        -------
        Capture or None
            `captured_ns` is when the picture had arrived, before it was decoded. None where none came in time.

        Raises
        ------
        EndOfStream
            Where a source with an end has come to it.
        CameraError
            Where the stream was lost, or changed its size.
        """
        if self._reader is None or self._format is None or not self._started:
            raise CameraError(f"{self._name}: was read before it was started")
        decoded = self._reader.take(timeout_s)
        if decoded is None:
            return None
        frame = decoded.frame
        if (frame.width, frame.height) != (self._format.width, self._format.height):
            raise CameraError(
                f"{self._name}: changed its size from {self._format.width}x{self._format.height} to "
                f"{frame.width}x{frame.height}"
            )
        convert(frame, self._reformatter, self._format, out)
        return Capture(captured_ns=decoded.arrived_ns, device_id=decoded.number, device_time=decoded.ticks)

    def stop(self) -> None:
        """End the thread and disconnect; where the stream has stalled, that takes `lost_s`."""
        self._started, self._format = False, None
        if self._reader is not None:
            self._reader.end(2 * self._settings.lost_s + 1)
            self._reader = None


class _Reader:
    """The thread that reads and decodes; it owns the container and closes it."""

    def __init__(self, container: Any, name: str, low_latency: bool, clock: Callable[[], int]) -> None:
        self._container, self._name, self._clock = container, name, clock
        self._stream = container.streams.video[0]
        if low_latency:
            self._stream.codec_context.flags |= Flags.low_delay
        self.tick_ns: float | None = None
        """Nanoseconds of a tick; none until a picture with a time has come."""
        self._changed = threading.Condition()
        self._waiting: deque[_Decoded] = deque(maxlen=WAITING_FRAMES)
        self._first: _Decoded | None = None
        self._begun_ns: int | None = None
        self._number = 0
        self._shift = 0
        self._shown_us = 0.0
        self._last: tuple[int, int] | None = None
        self._end: Exception | None = None
        self._stopping = False
        # A driver that never answers must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name="av-reader", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> _Decoded | None:
        """Wait for the first picture."""
        with self._changed:
            self._changed.wait_for(lambda: self._first is not None or self._end is not None, timeout_s)
            if self._first is None and self._end is not None:
                raise self._as_error(self._end)
            return self._first

    def begin(self) -> None:
        """Keep what arrives from now on."""
        with self._changed:
            self._begun_ns = self._clock()

    def take(self, timeout_s: float) -> _Decoded | None:
        """Wait for a picture; raises what ended the stream when all before are taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._end is not None, timeout_s)
            if self._waiting:
                return self._waiting.popleft()
            if self._end is not None:
                raise self._end
            return None

    def end(self, timeout_s: float) -> None:
        """End the thread; it closes the container."""
        self._stopping = True
        self._thread.join(timeout_s)

    def _as_error(self, end: Exception) -> CameraError:
        return end if isinstance(end, CameraError) else CameraError(f"{self._name}: ended before its first picture")

    def _run(self) -> None:
        end: Exception
        try:
            for packet in self._container.demux(self._stream):
                arrived_ns = self._clock()
                if self._stopping:
                    break
                self._decode(packet, arrived_ns)
            end = self._at_end()
        except av.error.ExitError:
            end = CameraError(f"{self._name}: lost; nothing has come for {self._container.read_timeout:g} s")
        except av.FFmpegError as error:
            end = CameraError(f"{self._name}: lost; {_reason(error)}")
        with self._changed:  # before taking leave, which a dead server makes slow
            self._end = end
            self._changed.notify_all()
        self._container.close()

    def _decode(self, packet: Any, arrived_ns: int) -> None:
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            self._count_damaged()
            return
        for frame in frames:
            if frame.is_corrupt:
                self._count_damaged()
            else:
                self._put(frame, arrived_ns)

    def _count_damaged(self) -> None:
        if self._number:  # a stream that is joined in the middle begins with pictures that can't be decoded
            self._number += 1

    def _put(self, frame: av.VideoFrame, arrived_ns: int) -> None:
        ticks = self._ticks(frame, arrived_ns)
        with self._changed:
            begun = self._begun_ns is not None and arrived_ns >= self._begun_ns
            decoded = _Decoded(frame, self._number, ticks, arrived_ns)
            if self._first is None:
                self._first = decoded
            if begun:
                self._waiting.append(decoded)
                self._number += 1
            self._changed.notify_all()

    def _ticks(self, frame: av.VideoFrame, arrived_ns: int) -> int | None:
        """Time stamp of a picture; where a sender begins anew, it goes on by the time that has passed here."""
        if frame.pts is None or frame.time_base is None:
            return None
        tick_ns = self.tick_ns = float(frame.time_base * 1_000_000_000)
        self._shown_us = float((frame.pts * frame.time_base) * 1_000_000)
        ticks: int = frame.pts + self._shift
        if self._last is not None and ticks <= self._last[0]:
            onward = self._last[0] + max(1, round((arrived_ns - self._last[1]) / tick_ns))
            self._shift += onward - ticks
            ticks = onward
        self._last = (ticks, arrived_ns)
        return ticks

    def _at_end(self) -> Exception:
        """What libav's end means: over a network it comes too where the sender died, unless all has been sent."""
        length_us = self._container.duration
        if "://" not in self._container.name or (length_us is not None and self._shown_us > length_us - END_US):
            return EndOfStream()
        return CameraError(f"{self._name}: lost; the sender has closed the stream")


def _without_password(source: str) -> str:
    address = urlsplit(source)
    return source.replace(f"{address.username}:{address.password}@", "") if address.password else source


def _text(value: bool | float | str) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
