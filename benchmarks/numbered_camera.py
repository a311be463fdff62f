"""A camera that paints each frame's number into its pixels and keeps a log of its own of what it delivered.

The log is the witness against which a session is judged: each line goes to the operating system with one `os.write`
before `read` returns, so a kill takes away nothing of it. `N number` is a frame that the device numbered, `D number
device_id captured_ns device_time` one that it delivered. A number is painted as large black and white blocks with the
camera's own number and a checksum, so it survives H.264; `read_picture` reads it from a decoded frame.

The device can misbehave in the ways that real ones do: see `NumberedSettings`.
"""

import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posestream.acquisition.camera import CameraFormat, CameraSettings, Capture, EndOfStream, Pixels
from posestream.stream.wire.clock import monotonic_ns

ROWS, COLUMNS = 6, 8
"""Blocks of a picture: 24 bits of the frame's number, 8 of the camera's, 16 of their checksum."""
TICK_NS = 1_000
TEXTURES = 32


class NumberedSettings(CameraSettings, frozen=True, kw_only=True):
    """What it films, and what goes wrong; numbers are those of frames, from 0."""

    log: Path
    camera: int = 0
    """Painted beside the number of the frame."""
    width: int = 320
    height: int = 240
    rate_hz: float = 100.0
    frames: int = 0
    """Frames after which it ends; 0: never."""
    colour: bool = False
    noise: int = 0
    """Grey levels of noise, at most 63, which give the encoder work."""
    ids: bool = True
    """Whether frames have a device id."""
    clock: bool = True
    """Whether the device has a clock."""
    buffers: int = 2_000
    """Frames that may wait in the device; then the oldest is dropped."""
    dropped: tuple[int, ...] = ()
    """Frames that are numbered and not delivered."""
    late: tuple[int, ...] = ()
    """Frames that are delivered after the one that follows them."""
    repeated: tuple[int, ...] = ()
    """Frames with the id of the one before, from which ids go on."""
    close: tuple[int, ...] = ()
    """Frames exposed 0.4 ms after the one before."""
    suspend_at: tuple[int, ...] = ()
    """Frames before which the delivery, not the exposure, is suspended."""
    suspend_ms: int = 120
    back_at: tuple[int, ...] = ()
    """Frames from which on the clocks of the device and of the plug-in are set back."""
    back_ms: int = 50
    quiet_at: tuple[int, ...] = ()
    """Frames before which the device waits for its trigger."""
    quiet_s: float = 7.0


class NumberedCamera:
    """See the module."""

    Settings = NumberedSettings

    def __init__(self, settings: NumberedSettings) -> None:
        self._set, self._log = settings, -1
        self._textures = np.zeros((1, settings.height, settings.width), np.uint8)

    def open(self) -> CameraFormat:
        """Open the log."""
        own = self._set
        if own.noise:
            rng = np.random.default_rng(own.camera)
            self._textures = rng.integers(0, own.noise + 1, (TEXTURES, own.height, own.width), np.uint8)
        if self._log < 0:
            self._log = os.open(own.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return CameraFormat(
            height=own.height,
            width=own.width,
            pixel_format="rgb24" if own.colour else "gray8",
            rate_hz=own.rate_hz,
            tick_ns=TICK_NS if own.clock else None,
            description="numbered frames",
        )

    def start(self) -> None:
        """Begin to expose."""
        self._order = self._delivered()
        self._next: int | None = next(self._order)
        self._exposed_ns: list[int] = []
        self._told = 0
        self._free_ns = 0
        self._begin_ns = monotonic_ns()

    def read(self, out: Pixels, timeout_s: float) -> Capture | None:
        """Deliver the next frame when its time has come."""
        own, deadline_ns = self._set, monotonic_ns() + round(timeout_s * 1e9)
        number = self._next
        if number is None:
            raise EndOfStream
        ready_ns = self._ready_ns(number)
        while (now := monotonic_ns()) < ready_ns:
            self._tell_numbered(now)
            if now >= deadline_ns:
                return None
            time.sleep(max(0, min(ready_ns, deadline_ns) - now) / 1e9)
        self._tell_numbered(now)
        while self._told - number > own.buffers:  # overwritten in the device
            number = next(self._order)
        self._next = next(self._order, None)
        paint(out, number, own.camera, self._textures[number % len(self._textures)])
        back_ns = sum(number >= at for at in own.back_at) * own.back_ms * 1_000_000
        captured_ns = monotonic_ns() - back_ns
        device_id = number - sum(number >= at for at in own.repeated) if own.ids else None
        ticks = (self._exposure_ns(number) - back_ns) // TICK_NS if own.clock else None
        os.write(self._log, f"D {number} {device_id} {captured_ns} {ticks}\n".encode())
        return Capture(captured_ns=captured_ns, device_id=device_id, device_time=ticks)

    def stop(self) -> None:
        """Close the log."""
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _delivered(self) -> Iterator[int]:
        """Frames in the order of delivery."""
        own, number = self._set, 0
        while not own.frames or number < own.frames:
            if number in own.late:
                yield number + 1
                yield number
                number += 2
                continue
            if number not in own.dropped:
                yield number
            number += 1

    def _exposure_ns(self, number: int) -> int:
        own, period_ns = self._set, round(1e9 / self._set.rate_hz)
        while len(self._exposed_ns) <= number:
            at = len(self._exposed_ns)
            step = 400_000 if at in own.close else period_ns
            step += round(own.quiet_s * 1e9) if at in own.quiet_at else 0
            self._exposed_ns.append(self._exposed_ns[-1] + step if at else self._begin_ns)
        return self._exposed_ns[number]

    def _ready_ns(self, number: int) -> int:
        exposed_ns = self._exposure_ns(number)
        if number in self._set.suspend_at:
            self._free_ns = exposed_ns + self._set.suspend_ms * 1_000_000
        return max(exposed_ns, self._free_ns)

    def _tell_numbered(self, now_ns: int) -> None:
        lines = []
        while self._exposure_ns(self._told) <= now_ns and self._told != (self._set.frames or -1):
            lines.append(f"N {self._told}\n")
            self._told += 1
        if lines:
            os.write(self._log, "".join(lines).encode())


def paint(out: Pixels, number: int, camera: int, texture: Pixels) -> None:
    """Paint a number over all of a picture, with a texture of at most 63 grey levels in it."""
    code = (number << 8 | camera).to_bytes(4, "big")
    bits = np.unpackbits(np.frombuffer(code + (zlib.crc32(code) & 0xFFFF).to_bytes(2, "big"), np.uint8))
    height, width = out.shape[:2]
    blocks = (bits.reshape(ROWS, COLUMNS) * 160 + 16).astype(np.uint8)
    rows, columns = np.arange(height) * ROWS // height, np.arange(width) * COLUMNS // width
    out[...] = (blocks[rows[:, None], columns] + texture)[..., None]


def read_picture(grey: Pixels) -> tuple[int, int] | None:
    """Read the numbers of the frame and of the camera from a decoded picture (height, width); None: no such picture."""
    height, width = grey.shape
    rows = (np.arange(ROWS) * 2 + 1) * height // (2 * ROWS)
    columns = (np.arange(COLUMNS) * 2 + 1) * width // (2 * COLUMNS)
    reach = max(1, min(height // ROWS, width // COLUMNS) // 4)
    bits = [[grey[y - reach : y + reach, x - reach : x + reach].mean() > 127 for x in columns] for y in rows]
    data = np.packbits(np.asarray(bits, bool).ravel()).tobytes()
    if zlib.crc32(data[:4]) & 0xFFFF != int.from_bytes(data[4:], "big"):
        return None
    return int.from_bytes(data[:3], "big"), data[3]
