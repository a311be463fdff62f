"""Puts the core's stamps on each frame: its unwrapped number, its time by the host's clock, what is odd about it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from posestream.acquisition.camera import CameraFormat, Capture
from posestream.acquisition.device_clock import DeviceClock
from posestream.acquisition.device_ids import DeviceIds, Gap
from posestream.stream.disk.notes import Note, join_notes

__all__ = ["FrameStamper", "Loss", "Stamped"]

MAX_TICKS = 2**63 - 1
"""The largest stamp that the protocol carries."""
AHEAD_NS = 1_000_000
"""Nanoseconds by which a frame's time may be ahead of the host's clock; more can't be."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Frames that the device numbered and that never came."""

    count: int
    first_id: int
    last_id: int
    frame_seq: int
    """The frame before which they are missing."""
    why: str
    """What the device or its driver said of it."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """A frame's numbers and times beside what the camera said."""

    frame_seq: int
    """Number of the frame in the stream."""
    capture: Capture
    device_id: int | None
    """The device's number, unwrapped."""
    captured_ns: int
    """Exposure by the host's monotonic clock: the device's stamp mapped, or else the arrival."""
    wall_ns: int
    """The same by the wall clock."""
    lost: range
    """Ids before it that the device numbered and has not delivered; one of the next frames may have one of them."""
    id_note: str
    """What is odd about its number."""
    note: str
    """All that is odd about it."""
    late: bool = False
    """Whether its id is one that was among the `lost` of a frame before it."""
    found: bool = False
    """Whether it was counted among `losses` already."""
    losses: tuple[Loss, ...] = ()
    """What is lost for good, now that this frame has come."""


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
        self._frame_seq = 0
        self._last_ns: int | None = None  # of the frame before, from which the rate goes on
        self._floor_ns = -(2**63)  # no frame is captured before the one before
        self._arrived_ns = -(2**63)
        self._gaps: deque[tuple[int, str]] = deque()  # frame and cause of each gap that is not final
        self._steps, self._steps_ns = 0, 0

    def begin_anew(self, camera: CameraFormat) -> None:
        """Go on after the camera was opened again."""
        self._ids.begin_anew(camera.device_ids)
        if self._clock is not None and camera.tick_ns is not None:
            self._clock.begin_anew(camera.tick_ns)
        self._last_ns = None

    def stamp(self, capture: Capture, wall_offset_ns: int, note: str = "", now_ns: int | None = None) -> Stamped:
        """Stamp the next frame.

        Parameters
        ----------
        capture
            What the camera said of it.
        wall_offset_ns
            Wall clock minus monotonic clock.
        note
            What else is to be noted of it.
        now_ns
            The monotonic clock now that the frame is there; none: nobody looked.
        """
        if capture.device_time is not None and abs(capture.device_time) > MAX_TICKS:
            capture = msgspec.structs.replace(capture, device_time=None)
        seen = self._ids.see(capture.device_id)
        capture, arrival_note = self._arrived(capture, now_ns)
        captured_ns, clock_note = self._time(capture, behind=seen.behind)
        self._measure(captured_ns, 1 + len(seen.lost), seen.behind, odd=bool(seen.note and seen.device_id is not None))
        if seen.lost:
            self._gaps.append((self._frame_seq, capture.lost_why))
        stamped = Stamped(
            frame_seq=self._frame_seq,
            capture=capture,
            device_id=seen.device_id,
            captured_ns=captured_ns,
            wall_ns=captured_ns + wall_offset_ns,
            lost=seen.lost,
            id_note=seen.note,
            note=join_notes((note, seen.note, arrival_note, clock_note)),
            late=seen.late,
            found=seen.found,
            losses=self._losses(seen.final),
        )
        self._frame_seq += 1
        return stamped

    def end(self) -> tuple[Loss, ...]:
        """Give what is lost for good because no frame follows."""
        return self._losses(self._ids.end())

    def _losses(self, final: Iterable[Gap]) -> tuple[Loss, ...]:
        told = [(gap, *self._gaps.popleft()) for gap in final]
        return tuple(Loss(gap.lost, *gap.first_and_last, frame_seq, why) for gap, frame_seq, why in told if gap.lost)

    def _arrived(self, capture: Capture, now_ns: int | None) -> tuple[Capture, str]:
        """See that the time that the camera gave is one of the host's clock; else the host's own is taken."""
        said_ns, note = capture.captured_ns, ""
        if said_ns < self._arrived_ns:
            note = Note.TIME_WENT_BACK.text((self._arrived_ns - said_ns) / 1e9)
        elif now_ns is not None and said_ns > now_ns + AHEAD_NS:
            note = Note.TIME_IN_FUTURE.text((said_ns - now_ns) / 1e9)
        if note:
            arrived_ns = max(self._arrived_ns, now_ns if now_ns is not None else self._arrived_ns)
            capture = msgspec.structs.replace(capture, captured_ns=arrived_ns)
        self._arrived_ns = capture.captured_ns
        return capture, note

    def _time(self, capture: Capture, *, behind: bool) -> tuple[int, str]:
        captured_ns, note = self._mapped(capture, behind=behind)
        if captured_ns < self._floor_ns:
            captured_ns = self._floor_ns
            note = note or Note.BEFORE_LAST_FRAME.text()
        self._floor_ns = captured_ns
        return captured_ns, note

    def _mapped(self, capture: Capture, *, behind: bool) -> tuple[int, str]:
        # A played video has times of its own, which are not those of any clock of now
        if self._clock is None or capture.presentation_ns is not None:
            return capture.captured_ns, ""
        ticks = capture.device_time
        if ticks is None:
            return self._clock.pass_over(capture.captured_ns), Note.DEVICE_TIME_MISSING.text() if self.has_clock else ""
        if behind and self.has_clock:  # an older stamp, which is no news of the clock
            return self._floor_ns, ""
        self.has_clock = True
        return self._clock.map(ticks, capture.captured_ns)

    def _measure(self, captured_ns: int, steps: int, behind: bool, *, odd: bool) -> None:
        if behind:  # its step is counted where it was missing
            return
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
