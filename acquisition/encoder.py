"""One video file, H.264 by default, written so that it can be played whatever kills the process that writes it.

mp4 is written in fragments of one frame and becomes an ordinary mp4 when it is closed (FFmpeg's `hybrid_fragmented`);
Matroska flushes each packet and starts a cluster ten times a second. Frames carry the time at which they were captured.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.error
from av.video.format import VideoFormat
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from posestream.acquisition.camera import CameraFormat, Pixels
from posestream.acquisition.depth import fit_depth
from posestream.stream.disk.packets import packet_crc32
from posestream.stream.wire.errors import UserError
from posestream.stream.wire.settings import RecordingSettings

__all__ = ["EncodedPacket", "EncoderError", "VideoWriter", "recorded_pixel_format"]

TIME_BASE = Fraction(1, 1_000_000)
_CONTAINER_OPTIONS = {
    "mp4": {"movflags": "hybrid_fragmented+frag_every_frame", "flush_packets": "1"},
    "mkv": {"flush_packets": "1", "cluster_time_limit": "100"},
}
_CONTAINER_FORMATS = {"mp4": "mp4", "mkv": "matroska"}
TICK_US = {"mp4": 1, "mkv": 1_000}
"""Microseconds that a container counts times in; two frames of one tick would have one time."""
_NUMPY_FORMATS = {"gray8": "gray", "rgb24": "rgb24", "bgr24": "bgr24"}


class EncoderError(UserError):
    """An encoder that can't be opened or refused a frame, or a disk that took no more; the text is for people."""


class EncodedPacket(NamedTuple):
    """A packet that was written to the file; each holds one frame."""

    pts_us: int
    """Presentation time of its frame."""
    crc32: int
    """Checksum of what it codes: `posestream.stream.disk.packets.packet_crc32`."""


def recorded_pixel_format(settings: RecordingSettings, camera: CameraFormat) -> str:
    """FFmpeg's name of the pixel format to record: grey stays grey with 8 bits, colour becomes yuv420p.

    Chroma of half size needs even sides; a colour frame with an odd one is recorded as yuv444p.
    """
    if settings.pixel_format != "auto":
        return settings.pixel_format
    if camera.pixel_format == "gray8":
        return "gray"
    return "yuv420p" if camera.height % 2 == 0 and camera.width % 2 == 0 else "yuv444p"


class VideoWriter:
    """Encodes frames into a new file.

    Parameters
    ----------
    path
        The file; None opens the encoder alone, to see whether it works.
    settings
        Codec, container and quality.
    camera
        Format of the frames; the encoder's rate control takes 30 frames a second where it has no rate.

    Raises
    ------
    EncoderError
        Where the encoder does not exist or can't be opened so, or the file can't be made.
    """

    def __init__(self, path: Path | None, settings: RecordingSettings, camera: CameraFormat) -> None:
        self.path = path
        self.encoded = 0
        """Frames given to the encoder."""
        self.written = 0
        """Packets given to the file, whose beginning is written with the first: FFmpeg crashes where it is to close an
        mp4 in fragments that has a beginning and no frame."""
        self._settings = settings
        self._output = recorded_pixel_format(settings, camera)
        self._bits, self._depth = camera.bits, _depth(self._output)
        self.deep = min(self._bits, self._depth) > 8 and camera.pixel_format == "gray8"
        """Whether `write` takes the camera's own values of more than 8 bits, not frames scaled to 8 bits."""
        self._input = f"gray{self._depth}le" if self.deep else _NUMPY_FORMATS[camera.pixel_format]
        self._reformatter = VideoReformatter()
        self._keyframe_us = round(settings.keyframe_interval_s * 1e6)
        self._last_keyframe_us: int | None = None
        self._container: Any = None
        self._stream: Any = None
        if (camera.rate_hz or 0) * self.tick_us > 1_000_000:
            raise EncoderError(
                f"recording.container: {settings.container} counts milliseconds, too coarse for {camera.rate_hz:g} "
                "frames a second; use mp4"
            )
        if path is None:
            self._open(self._configure(self._new_codec(), camera))
            return
        try:
            path.touch(exist_ok=False)  # FFmpeg makes it with the first frame only
            self._container = av.open(
                str(path),
                "w",
                format=_CONTAINER_FORMATS[settings.container],
                options=_CONTAINER_OPTIONS[settings.container],
            )
            self._stream = self._container.add_stream(settings.codec, rate=_rate(camera))
            self._configure(self._stream, camera)
            self._stream.time_base = TIME_BASE
            self._open(self._stream.codec_context)
            self._codec: str = self._stream.codec_context.codec.canonical_name
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise EncoderError(f"{path} can't be written: {_reason(error)}") from error

    def _new_codec(self) -> Any:
        try:
            return av.CodecContext.create(self._settings.codec, "w")
        except (av.error.FFmpegError, ValueError) as error:
            raise EncoderError(
                f'recording.codec: there is no encoder "{self._settings.codec}" here; libx264 is always there'
            ) from error

    def _configure(self, target: Any, camera: CameraFormat) -> Any:
        settings, codec = self._settings, getattr(target, "codec_context", target)
        target.height, target.width = camera.height, camera.width
        taken = [known.name for known in codec.codec.video_formats or ()]
        if taken and self._output not in taken:
            raise EncoderError(
                f'recording.pixel_format: encoder "{settings.codec}" does not take "{self._output}"; it takes '
                + ", ".join(taken)
            )
        target.pix_fmt = self._output
        codec.time_base, codec.framerate = TIME_BASE, _rate(camera)
        codec.max_b_frames = 0  # one frame in, one packet out, in order
        codec.thread_count = settings.threads
        # Full range, and said so: a reader gets the camera's numbers back, not numbers squeezed into 16 to 235.
        codec.color_range, codec.colorspace = ColorRange.JPEG, Colorspace.ITU601
        options: dict[str, str] = {}
        codec.gop_size = 1_000_000  # keyframes are asked for by time, in `write`
        if settings.codec == "libx264":
            # Adaptive quantisation gives bits to what looks flat to people; without it the same file is nearer to the
            # camera's numbers, and a fifth of the work is saved.
            options |= {"tune": "zerolatency", "forced-idr": "1", "aq-mode": "0"}
        elif settings.codec.endswith("_nvenc"):
            options |= {"delay": "0", "zerolatency": "1", "forced-idr": "1"}
        else:  # an encoder that may not heed what it is asked
            codec.gop_size = max(1, round(float(_rate(camera)) * settings.keyframe_interval_s))
        if settings.preset is not None:
            options["preset"] = settings.preset
        if settings.crf is not None:
            options["cq" if settings.codec.endswith("_nvenc") else "crf"] = f"{settings.crf:g}"
        target.options = options | settings.options
        return codec

    def _open(self, codec: Any) -> None:
        try:
            codec.open()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            settings = self._settings
            raise EncoderError(
                f'recording: encoder "{settings.codec}" refuses preset {settings.preset!r}, crf {settings.crf!r}, '
                f"{codec.width}x{codec.height} {self._output}, options {settings.options}: {_reason(error)}"
            ) from error

    @property
    def tick_us(self) -> int:
        """Microseconds that the container counts times in: presentation times must differ by one at least."""
        return TICK_US[self._settings.container]

    def write(self, pixels: Pixels, pts_us: int) -> list[EncodedPacket]:
        """Encode one frame.

        Parameters
        ----------
        pixels
            (height, width, channels) uint8, or uint16 where `deep`.
        pts_us
            Its presentation time, microseconds; above that of the frame before.

        Returns
        -------
        list of EncodedPacket
            What was written to the file: the packet of this frame, unless the encoder looks ahead.

        Raises
        ------
        EncoderError
            Where the encoder or the disk refuses it.
        """
        array = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        if self.deep:
            array = fit_depth(array, self._bits, self._depth)
        try:
            frame = VideoFrame.from_numpy_buffer(array, format=self._input)
            if self._input != self._output:
                frame = self._reformatter.reformat(
                    frame,
                    format=self._output,
                    src_colorspace=Colorspace.ITU601,
                    dst_colorspace=Colorspace.ITU601,
                    src_color_range=ColorRange.JPEG,
                    dst_color_range=ColorRange.JPEG,
                )
            frame.pts, frame.time_base = pts_us, TIME_BASE
            if self._last_keyframe_us is None or pts_us - self._last_keyframe_us >= self._keyframe_us:
                frame.pict_type = PictureType.I
                self._last_keyframe_us = pts_us
            self.encoded += 1
            return list(self._mux(self._container, self._stream.encode(frame)))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise EncoderError(f"{self.path} took no more frames: {_reason(error)}") from error

    def _mux(self, container: Any, packets: Iterable[Any]) -> Iterator[EncodedPacket]:
        codec = self._stream.codec_context
        for packet in packets:
            # Before muxing, which changes the time to the container's base
            written = EncodedPacket(packet.pts, packet_crc32(bytes(packet), self._codec, codec.extradata))
            container.mux(packet)
            self.written += 1
            yield written

    def sync(self) -> None:
        """Bring what is in the file to the disk, so that it outlives a power failure; any thread may call it.

        Raises
        ------
        OSError
            Where the disk refuses.
        """
        with contextlib.suppress(FileNotFoundError):  # it had no frame when it was closed
            if self.path is not None:
                with self.path.open("rb+") as file:
                    os.fsync(file.fileno())

    @property
    def size_bytes(self) -> int:
        """Size of the file; 0 where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return self.path.stat().st_size if self.path is not None else 0
        return 0

    def close(self) -> list[EncodedPacket]:
        """Write what the encoder still holds, turn the file into an ordinary one and close it; without a frame it goes.

        Returns
        -------
        list of EncodedPacket
            As `write`.

        Raises
        ------
        EncoderError
            Where that fails; the fragments written so far stay playable.
        """
        if self._container is None:
            return []
        container, self._container = self._container, None
        try:
            try:
                late = list(self._mux(container, self._stream.encode()))
            finally:
                container.close()
            if not self.written and self.path is not None:
                self.path.unlink()
            self.sync()  # its beginning was written anew, and means nothing without the index at the end
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise EncoderError(f"{self.path} could not be closed properly: {_reason(error)}") from error
        return late


def _depth(pixel_format: str) -> int:
    """Bits of the first component of a value."""
    try:
        return VideoFormat(pixel_format).components[0].bits
    except ValueError as error:
        raise EncoderError(f'recording.pixel_format: FFmpeg knows no pixel format "{pixel_format}"') from error


def _rate(camera: CameraFormat) -> Fraction:
    return Fraction(camera.rate_hz or 30.0).limit_denominator(1_001_000)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
