"""Puts the core's stamps on each frame: its unwrapped number, its time by the host's clock, what is odd about it."""

from dataclasses import dataclass

import msgspec

from posestream.acquisition.camera import CameraFormat, Capture
from posestream.acquisition.device_clock import DeviceClock
from posestream.acquisition.device_ids import DeviceIds

__all__ = ["FrameStamper", "Stamped"]

MAX_TICKS = 2**63 - 1
"""The largest stamp that the protocol carries."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """A frame's numbers and times beside what the camera said."""

    seq: int
    """Number of the frame in the stream."""
    capture: Capture
    device_id: int | None
    """The device's number, unwrapped."""
    captured_ns: int
    """Exposure by the host's monotonic clock: the device's stamp mapped, or else the arrival."""
    wall_ns: int
    """The same by the wall clock."""
    lost: range
    """Ids before it that the device numbered and did not deliver."""
    id_note: str
    """What is odd about its number."""
    note: str
    """All that is odd about it."""


class FrameStamper:
    """Stamps the frames of one camera in the order in which they come.

    Parameters
    ----------
    camera
        What the camera will deliver.
    """

    def __init__(self, camera: CameraFormat) -> None:
        self._ids = DeviceIds(camera.device_ids)
        self._clock: DeviceClock | None = DeviceClock(camera.tick_ns) if camera.tick_ns is not None else None
        self.has_clock = False
        """Whether the device's clock is mapped: it says how long its ticks are, and has stamped a frame."""
        self._note = ""
        self._seq = 0
        self._last_ns: int | None = None
        self._steps, self._steps_ns = 0, 0

    def begin_anew(self, camera: CameraFormat) -> None:
        """Go on after the camera was opened again."""
        self._ids.begin_anew(camera.device_ids)
        if self._clock is not None and camera.tick_ns is not None:
            self._clock.begin_anew(camera.tick_ns)
        self._last_ns = None

    def stamp(self, capture: Capture, wall_offset_ns: int, note: str = "") -> Stamped:
        """Stamp the next frame.

        Parameters
        ----------
        capture
            What the camera said of it.
        wall_offset_ns
            Wall clock minus monotonic clock.
        note
            What else is to be noted of it.
        """
        if capture.device_time is not None and abs(capture.device_time) > MAX_TICKS:
            capture = msgspec.structs.replace(capture, device_time=None)
        seen = self._ids.see(capture.device_id)
        captured_ns, clock_note = self._time(capture)
        self._measure(captured_ns, 1 + len(seen.lost), odd=bool(seen.note and seen.device_id is not None))
        stamped = Stamped(
            seq=self._seq,
            capture=capture,
            device_id=seen.device_id,
            captured_ns=captured_ns,
            wall_ns=captured_ns + wall_offset_ns,
            lost=seen.lost,
            id_note=seen.note,
            note="; ".join(filter(None, (note, seen.note, clock_note))),
        )
        self._seq += 1
        return stamped

    def _time(self, capture: Capture) -> tuple[int, str]:
        # A played video has times of its own, which are not those of any clock of now
        if self._clock is None or capture.presentation_ns is not None:
            return capture.captured_ns, ""
        ticks = capture.device_time
        if ticks is None:
            return self._clock.pass_over(capture.captured_ns), "device time missing" if self.has_clock else ""
        self.has_clock = True
        return self._clock.map(ticks, capture.captured_ns)

    def _measure(self, captured_ns: int, steps: int, *, odd: bool) -> None:
        if self._last_ns is not None and not odd:
            self._steps += steps
            self._steps_ns += captured_ns - self._last_ns
        self._last_ns = captured_ns

    @property
    def measured_s(self) -> float:
        """Seconds over which the rate was measured: the time since the start without gaps."""
        return self._steps_ns / 1e9

    @property
    def rate_hz(self) -> float | None:
        """Frames a second that the device exposed, lost ones included; none before the second frame."""
        return self._steps / self._steps_ns * 1e9 if self._steps_ns > 0 else None

    @property
    def drift_ppm(self) -> float | None:
        """Millionths by which the device's clock is fast; none where it has none, or that is not known yet."""
        return self._clock.drift_ppm if self._clock is not None else None

    @property
    def clock_restarts(self) -> int:
        """Times that the device's clock jumped or began anew."""
        return self._clock.restarts if self._clock is not None else 0
