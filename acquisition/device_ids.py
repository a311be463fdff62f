"""Follows the frame numbers of a device: unwraps them and finds those that never came."""

from dataclasses import dataclass

__all__ = ["MAX_GAP", "DeviceIds", "Seen"]

MAX_GAP = 100_000
"""Frames; a device id that jumps further means that the device began to count anew, not that frames were lost."""
MAX_LATE = 8
"""Frames; an id that is at most so far behind is that of a frame that others overtook."""
MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Seen:
    """What the number of a frame says."""

    device_id: int | None
    """The number, unwrapped; none where the device gave none, or one that can't be."""
    lost: range
    """Ids before it, unwrapped, that the device numbered and did not deliver."""
    note: str
    """What is odd about the id; empty where nothing is."""


class DeviceIds:
    """Follows a device's frame ids.

    A frame without a number among others that have one is taken for the next in order, so that it is not counted as
    lost. An id that wraps, with fewer than half the range lost in a row, is unwrapped exactly.

    Parameters
    ----------
    raw_range
        First and last number before the device begins again at the first, as in `CameraFormat.device_ids`; None: it
        never does.
    """

    def __init__(self, raw_range: tuple[int, int] | None = None) -> None:
        self._range = raw_range
        self._last: int | None = None  # unwrapped
        self._anew = False

    def begin_anew(self, raw_range: tuple[int, int] | None) -> None:
        """Take the next id for what it is: the device was opened again, and what it numbered between is unknown."""
        self._range, self._anew = raw_range, True

    def see(self, raw: int | None) -> Seen:
        """Take in the number of the next frame that was delivered, as the device gave it."""
        first, final = self._range or (0, MAX_ID)
        if raw is None or not first <= raw <= final:
            return self._without(raw)
        last = self._last
        if last is None or self._anew:
            self._last, self._anew = raw, False
            return Seen(raw, range(0), "" if last is None else f"device ids began anew after {last}")
        step = self._step(raw, last)
        if step == 0:
            return Seen(last, range(0), "device id repeats")
        unwrapped = last + step if last + step >= first else raw
        if -MAX_LATE <= unwrapped - last < 0:
            return Seen(unwrapped, range(0), f"device id came late, after {last}")
        self._last = unwrapped
        if not 0 < unwrapped - last <= MAX_GAP:
            return Seen(unwrapped, range(0), f"device id jumped from {last} to {unwrapped}")
        return Seen(unwrapped, range(last + 1, unwrapped), "")

    def _without(self, raw: int | None) -> Seen:
        if self._last is not None:
            self._last += 1
        elif raw is None:
            return Seen(None, range(0), "")
        return Seen(None, range(0), "device id missing" if raw is None else f"device id {raw} is none of its range")

    def _step(self, raw: int, last: int) -> int:
        """How far a number is ahead of the last one: the shorter way round, where numbers wrap."""
        if self._range is None:
            return raw - last
        size = self._range[1] - self._range[0] + 1
        ahead = (raw - last) % size
        return ahead if ahead <= (size + 1) // 2 else ahead - size
