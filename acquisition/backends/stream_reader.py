"""The thread that reads and decodes a stream, since libav can't be told to wait for less than the stream takes.

It keeps the newest pictures. Each has a number, so that one that was read too late, or came damaged, shows as a gap.
What was lost on the way and never became a picture shows only in the times.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import av
import av.error
from av.codec.context import Flags

from posestream.acquisition.camera import CameraError, EndOfStream

__all__ = ["Decoded", "StreamReader", "reason"]

WAITING_FRAMES = 8
"""Decoded frames that wait to be read; a new one takes the place of the oldest."""
END_US = 500_000
"""A stream of known length that ends less than this before it, microseconds, has ended and is not lost."""


class Decoded(NamedTuple):
    """A picture that waits to be read."""

    frame: av.VideoFrame
    device_id: int
    """Counts the pictures since `begin`, with those that were damaged."""
    ticks: int | None
    """The stream's time, ever rising; none where it has none."""
    arrived_ns: int
    """When its last piece had come."""


class StreamReader:
    """The thread that reads and decodes; it owns the container and closes it.

    Parameters
    ----------
    container
        An opened `av.container.InputContainer` with pictures and a read time-out.
    name
        The stream, for messages.
    low_latency
        Whether a picture is given before the decoder knows that none comes before it.
    clock
        Gives nanoseconds.
    """

    def __init__(self, container: Any, name: str, low_latency: bool, clock: Callable[[], int]) -> None:
        self._container, self._name, self._clock = container, name, clock
        self._stream = container.streams.video[0]
        if low_latency:
            self._stream.codec_context.flags |= Flags.low_delay
        self.tick_ns: float | None = None
        """Nanoseconds of a tick; none until a picture with a time has come."""
        self._changed = threading.Condition()
        self._waiting: deque[Decoded] = deque(maxlen=WAITING_FRAMES)
        self._first: Decoded | None = None
        self._begun_ns: int | None = None
        self._device_id = 0
        self._shift = 0
        self._shown_us = 0.0
        self._last: tuple[int, int] | None = None
        self._end: Exception | None = None
        self._stopping = False
        # A driver that never answers must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name="av-reader", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> Decoded | None:
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

    def take(self, timeout_s: float) -> Decoded | None:
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
            end = CameraError(f"{self._name}: lost; {reason(error)}")
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
        if self._device_id:  # a stream that is joined in the middle begins with pictures that can't be decoded
            self._device_id += 1

    def _put(self, frame: av.VideoFrame, arrived_ns: int) -> None:
        ticks = self._ticks(frame, arrived_ns)
        with self._changed:
            begun = self._begun_ns is not None and arrived_ns >= self._begun_ns
            decoded = Decoded(frame, self._device_id, ticks, arrived_ns)
            if self._first is None:
                self._first = decoded
            if begun:
                self._waiting.append(decoded)
                self._device_id += 1
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
        """Say what libav's end means: over a network it comes too where the sender died."""
        length_us = self._container.duration
        if "://" not in self._container.name or (length_us is not None and self._shown_us > length_us - END_US):
            return EndOfStream()
        return CameraError(f"{self._name}: lost; the sender has closed the stream")


def reason(error: Exception) -> str:
    """Give libav's own words for an error."""
    return getattr(error, "strerror", None) or str(error)
