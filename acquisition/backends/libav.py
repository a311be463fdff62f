"""Network cameras (RTSP, HTTP), and what FFmpeg's devices give: v4l2, dshow, avfoundation, a screen, a test pattern."""

import sys
from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import urlsplit

import av
import numpy as np
from av.device import enumerate_input_devices
from av.video.reformatter import VideoReformatter
from msgspec import Meta
from numpy.typing import NDArray

from posestream.acquisition.backends.file import convert
from posestream.acquisition.backends.stream_reader import StreamReader, reason
from posestream.acquisition.backends.vocabulary import DeviceSettings, refuse_others
from posestream.acquisition.camera import CameraError, CameraFormat, Capture, FoundCamera
from posestream.stream.disk.video_files import upright_size
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.messages import PixelFormat

__all__ = ["LibavCamera", "LibavSettings"]

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
        self._reader: StreamReader | None = None
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
            raise CameraError(f"{self._name}: can't be opened: {reason(error)}") from None
        if not container.streams.video:
            container.close()
            raise CameraError(f"{self._name}: has no pictures")
        self._reader = StreamReader(container, self._name, options.low_latency, self._clock)
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
        options, codec, (width, height) = self._settings, stream.codec_context.name, upright_size(frame)
        asked = (options.width or width, options.height or height)
        if asked != (width, height):
            self.stop()
            raise CameraError(f"{self._name}: was asked for {asked[0]}x{asked[1]} pixels and gives {width}x{height}")
        pixel_format: PixelFormat = "gray8" if frame.format.name.startswith("gray") else "rgb24"
        for known in PIXEL_FORMATS:
            pixel_format = known if options.pixel_format == known else pixel_format
        rate_hz = float(stream.average_rate or stream.guessed_rate or 0) or None
        warnings: tuple[str, ...] = ()
        if options.rate_hz is not None and (rate_hz is None or abs(rate_hz - options.rate_hz) > 0.01 * options.rate_hz):
            says = "does not say its rate" if rate_hz is None else f"says that it gives {rate_hz:g}"
            warnings = (f"{self._name} was asked for {options.rate_hz:g} frames/s and {says}",)
        took: dict[str, bool | int | float | str] = {"width": width, "height": height}
        return CameraFormat(
            height=height,
            width=width,
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
        width, height = upright_size(frame)
        if (width, height) != (self._format.width, self._format.height):
            raise CameraError(
                f"{self._name}: changed its size from {self._format.width}x{self._format.height} to {width}x{height}"
            )
        convert(frame, self._reformatter, self._format, out)
        return Capture(captured_ns=decoded.arrived_ns, device_id=decoded.device_id, device_time=decoded.ticks)

    def stop(self) -> None:
        """End the thread and disconnect; where the stream has stalled, that takes `lost_s`."""
        self._started, self._format = False, None
        if self._reader is not None:
            self._reader.end(2 * self._settings.lost_s + 1)
            self._reader = None


def _without_password(source: str) -> str:
    address = urlsplit(source)
    return source.replace(f"{address.username}:{address.password}@", "") if address.password else source


def _text(value: bool | float | str) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
