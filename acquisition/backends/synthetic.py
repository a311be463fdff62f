"""A camera without hardware: the simulated arena, delivered like a camera would, with the faults that cameras have.

It exposes its frames by the clock whether or not anyone reads. Like a driver it keeps the newest few and loses the
rest, and what it lost shows as a jump of the device's frame number.
"""

import random
import time
from collections.abc import Callable
from typing import Annotated, Literal

import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from posestream.acquisition.arena import KEYPOINTS, Arena
from posestream.acquisition.camera import CameraError, CameraFormat, CameraSettings, Capture, EndOfStream, Pixels
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.messages import PixelFormat

__all__ = ["SyntheticCamera", "SyntheticSettings"]

DEPTHS = {"gray10": 10, "gray12": 12, "gray16": 16}

Side = Annotated[int, Meta(ge=16, le=8192)]
NotNegative = Annotated[float, Meta(ge=0)]
NotNegativeInt = Annotated[int, Meta(ge=0)]


class SyntheticSettings(CameraSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the synthetic camera."""

    width: Side = 640
    """Columns of a frame."""
    height: Side = 480
    """Rows of a frame."""
    rate_hz: Annotated[float, Meta(gt=0, le=10_000)] = 30.0
    """Frames a second."""
    seed: Annotated[int, Meta(ge=0)] = 0
    """The same seed gives the same frames and the same faults."""
    pixel_format: PixelFormat | Literal["gray10", "gray12", "gray16"] = "gray8"
    """How a pixel lies in memory; the scene has no more than 256 levels of grey, or of a colour."""
    levels: tuple[int, int] | None = None
    """Of pixels with more than 8 bits: the values that become 0 and 255 in the published frames; default: all."""
    frames: Annotated[int, Meta(ge=1)] | None = None
    """How many frames are exposed, lost ones included, before the stream ends; without it, it never does."""
    noise: Annotated[float, Meta(ge=0, le=100)] = 2.0
    """Standard deviation of the sensor's noise, grey levels."""
    exposure_us: Annotated[float, Meta(ge=0, le=1e6)] = 2000.0
    """For so long a frame is exposed, microseconds: it blurs what moves."""
    drop: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Probability that the device loses a frame."""
    jitter_ms: NotNegative = 0.0
    """Longest delay of a frame's delivery after its exposure, milliseconds; delays are uniform from 0."""
    buffers: Annotated[int, Meta(ge=1, le=100_000)] = 8
    """Frames that the device keeps for a reader who is late, the newest ones, like a driver's queue."""
    stall: tuple[NotNegative, NotNegative] | None = None
    """`[at_s, for_s]`: for so long nothing is delivered, though frames are exposed and the oldest lost, seconds."""
    skew_ppm: Annotated[float, Meta(ge=-10_000, le=10_000)] = 0.0
    """Millionths by which the device's clock, not its frame rate, is fast."""
    device_ids: tuple[NotNegativeInt, NotNegativeInt] | None = None
    """`[first, last]` of the device's frame numbers before they begin again, such as `[1, 65535]`."""
    unplug: tuple[NotNegativeInt, NotNegative] | None = None
    """`[at_frame, for_s]`: once, before that frame, the camera is lost, and can't be opened for so many seconds."""


class SyntheticCamera:
    """The camera backend `synthetic`.

    Parameters
    ----------
    settings
        What the rig says.
    clock
        Gives nanoseconds; `posestream.stream.wire.clock.monotonic_ns` or, in tests, a stand-in.
    sleep
        Waits for seconds of that clock.
    """

    Settings = SyntheticSettings

    def __init__(
        self,
        settings: SyntheticSettings,
        clock: Callable[[], int] = monotonic_ns,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._arena: Arena | None = None
        self._gray: NDArray[np.uint8] | None = None
        self._start_ns: int | None = None
        self._delivered_ns = 0
        self._unplugged_ns: int | None = None

    def open(self) -> CameraFormat:
        """Paint the empty arena.

        Returns
        -------
        CameraFormat
            The settings, and the names of the true keypoints.

        Raises
        ------
        CameraError
            While it is unplugged, or where the settings can't be.
        """
        options = self._settings
        if options.device_ids is not None and options.device_ids[0] >= options.device_ids[1]:
            raise CameraError(f"the synthetic camera's device_ids {list(options.device_ids)} are no range of numbers")
        if self._away():
            raise CameraError("the synthetic camera is unplugged")
        in_colour = options.pixel_format in ("rgb24", "bgr24")
        self._arena = Arena(
            options.width,
            options.height,
            options.rate_hz,
            options.seed,
            options.noise,
            options.exposure_us,
            colour=in_colour,
        )
        self._faults = random.Random(options.seed)  # noqa: S311 - reproducible on purpose
        self._draw_faults()
        if options.pixel_format in DEPTHS:
            self._gray = np.empty((options.height, options.width), np.uint8)
        colour = options.pixel_format
        pixel_format: PixelFormat = colour if colour == "rgb24" or colour == "bgr24" else "gray8"  # noqa: PLR1714
        bits = DEPTHS.get(options.pixel_format, 8)
        self._values = np.rint(np.arange(256) * ((2**bits - 1) / 255)).astype(np.uint16)
        return CameraFormat(
            height=options.height,
            width=options.width,
            pixel_format=pixel_format,
            bits=bits,
            levels=options.levels,
            rate_hz=options.rate_hz,
            tick_ns=1.0,
            device_ids=options.device_ids,
            truth_names=KEYPOINTS,
            description=f"simulated arena, seed {options.seed}",
        )

    def start(self) -> None:
        """Begin to expose: frame k is exposed k / `rate_hz` after this.

        Raises
        ------
        CameraError
            Where it is not open.
        """
        if self._arena is None:
            raise CameraError("the synthetic camera was started before it was opened")
        self._start_ns = self._delivered_ns = self._clock()

    def read(self, out: Pixels, timeout_s: float) -> Capture | None:
        """Wait for the next frame and put it into `out`.

        Parameters
        ----------
        out
            (height, width, channels), contiguous, of the format that `open` gave.
        timeout_s
            How long to wait at most, seconds.

        Returns
        -------
        Capture or None
            `captured_ns` is when the device delivered it, though it may be read later; `device_time` is the exposure in
            nanoseconds since the start, by the device's clock. None where no frame came in time.

        Raises
        ------
        EndOfStream
            After the last frame, where `frames` sets one.
        CameraError
            Where it was not started, or is unplugged.
        """
        if self._arena is None or self._start_ns is None:
            raise CameraError("the synthetic camera was read before it was started")
        self._unplug(self._arena.frame_seq)
        deadline_ns = self._clock() + round(timeout_s * 1e9)
        self._skip_lost(deadline_ns)
        frame_seq = self._arena.frame_seq
        if self._settings.frames is not None and frame_seq >= self._settings.frames:
            raise EndOfStream
        ready_ns = self._start_ns + self._delivery_ns(frame_seq)
        if ready_ns > deadline_ns:
            self._wait(deadline_ns)
            return None
        # Drawn before it is due, so that the work of drawing is no part of the latency
        self._render(out)
        self._wait(ready_ns)
        self._delivered_ns = max(self._delivered_ns, ready_ns)  # in order, whatever the delays
        capture = Capture(
            captured_ns=self._delivered_ns,
            device_id=self._device_id(frame_seq),
            device_time=round(self._exposure_ns(frame_seq) * (1 + self._settings.skew_ppm * 1e-6)),
            truth=self._arena.keypoints,
        )
        self._advance()
        return capture

    def stop(self) -> None:
        """Let go of the arena."""
        self._arena = self._gray = self._start_ns = None

    def _away(self) -> bool:
        unplug, since_ns = self._settings.unplug, self._unplugged_ns
        return unplug is not None and since_ns is not None and self._clock() - since_ns < unplug[1] * 1e9

    def _unplug(self, frame_seq: int) -> None:
        unplug = self._settings.unplug
        if unplug is not None and self._unplugged_ns is None and frame_seq >= unplug[0]:
            self._unplugged_ns = self._clock()
            raise CameraError("the synthetic camera was unplugged")

    def _device_id(self, frame_seq: int) -> int:
        if self._settings.device_ids is None:
            return frame_seq
        first, last = self._settings.device_ids
        return first + frame_seq % (last - first + 1)

    def _exposure_ns(self, frame_seq: int) -> int:
        return round(frame_seq * 1e9 / self._settings.rate_hz)

    def _delivery_ns(self, frame_seq: int) -> int:
        """When the frame leaves the device, nanoseconds since the start."""
        ready_ns = self._exposure_ns(frame_seq) + self._jitter_ns
        if self._settings.stall is not None:
            from_ns, for_ns = (round(seconds * 1e9) for seconds in self._settings.stall)
            if from_ns <= ready_ns < from_ns + for_ns:
                return from_ns + for_ns
        return ready_ns

    def _skip_lost(self, deadline_ns: int) -> None:
        """Go past the frames until then that the device lost, or that newer ones pushed out of its buffer."""
        assert self._arena is not None  # noqa: S101 - for the type checker
        assert self._start_ns is not None  # noqa: S101
        limit = self._settings.frames
        while limit is None or self._arena.frame_seq < limit:
            frame_seq = self._arena.frame_seq
            if self._start_ns + self._exposure_ns(frame_seq) > deadline_ns:
                return
            taken_ns = max(self._clock() - self._start_ns, self._delivery_ns(frame_seq))
            newer = frame_seq + self._settings.buffers
            pushed_out = (limit is None or newer < limit) and self._exposure_ns(newer) <= taken_ns
            if not (self._dropped or pushed_out):
                return
            self._advance()

    def _advance(self) -> None:
        assert self._arena is not None  # noqa: S101 - for the type checker
        self._arena.advance()
        self._draw_faults()

    def _draw_faults(self) -> None:
        # Drawn for every frame, delivered or not, so that they depend on its number only
        self._dropped = self._faults.random() < self._settings.drop
        self._jitter_ns = round(self._faults.random() * self._settings.jitter_ms * 1e6)

    def _wait(self, until_ns: int) -> None:
        while (left_ns := until_ns - self._clock()) > 0:
            self._sleep(left_ns / 1e9)

    def _render(self, out: Pixels) -> None:
        assert self._arena is not None  # noqa: S101 - for the type checker
        if self._gray is not None:
            self._arena.render(self._gray)
            cv2.LUT(self._gray, self._values, out)
        elif self._settings.pixel_format == "gray8":
            self._arena.render(out[:, :, 0])
        else:
            self._arena.render(out)
            if self._settings.pixel_format == "bgr24":
                cv2.cvtColor(out, cv2.COLOR_RGB2BGR, out)
