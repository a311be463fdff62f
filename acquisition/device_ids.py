"""Follows the frame numbers of a device: unwraps them and finds those that never came."""

from collections import deque
from dataclasses import dataclass, field, replace

from posestream.stream.disk.notes import Note

__all__ = ["MAX_GAP", "DeviceIds", "Gap", "Seen"]

MAX_GAP = 100_000
"""Frames; a device id that jumps further means that the device began to count anew, not that frames were lost."""
MAX_LATE = 8
"""Frames after which a gap counts as lost, and the largest backward step that is no new beginning of the count."""
MAX_FOUND = 64
"""Frames after which an id that was counted as lost may still come."""
MAX_ID = 2**63 - 1


@dataclass(slots=True)
class Gap:
    """Ids that the device numbered and that did not come in order."""

    ids: range
    """Unwrapped."""
    frame: int
    """Number of the frame behind it."""
    told: bool = False
    """Whether it was counted as lost."""
    came: set[int] = field(default_factory=set)
    """Those of them that came late after all."""

    @property
    def lost(self) -> int:
        """Frames that never came."""
        return len(self.ids) - len(self.came)

    @property
    def first_and_last(self) -> tuple[int, int]:
        """The first and the last id that never came; there is one at least."""
        first = next(one for one in self.ids if one not in self.came)
        return first, next(one for one in reversed(self.ids) if one not in self.came)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the number of a frame says."""

    device_id: int | None
    """The number, unwrapped; none where the device gave none, or one that can't be."""
    lost: range
    """Ids before it, unwrapped, that have not come: lost, unless one of the next frames has it."""
    note: str
    """What is odd about the id; empty where nothing is."""
    late: bool = False
    """Whether it is one of those ids."""
    found: bool = False
    """Whether it was counted as lost already."""
    behind: bool = False
    """Whether it is out of order: of a frame that others overtook, or one that came before."""
    final: tuple[Gap, ...] = ()
    """Gaps that count as lost from now on."""


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
        self._first = 0  # the lowest since the device began to count
        self._anew = False
        self._frames = 0
        self._gaps: deque[Gap] = deque()

    def begin_anew(self, raw_range: tuple[int, int] | None) -> None:
        """Take the next id for what it is: the device was opened again, and what it numbered between is unknown."""
        self._range, self._anew = raw_range, True

    def end(self) -> tuple[Gap, ...]:
        """Give the gaps that count as lost because no frame follows."""
        gaps = tuple(gap for gap in self._gaps if not gap.told)
        self._gaps.clear()
        return gaps

    def see(self, raw: int | None) -> Seen:
        """Take in the number of the next frame that was delivered, as the device gave it."""
        self._frames += 1
        seen = self._see(raw)
        final = tuple(gap for gap in self._gaps if not gap.told and self._frames - gap.frame > MAX_LATE)
        for gap in final:
            gap.told = True
        while self._gaps and self._frames - self._gaps[0].frame > MAX_FOUND:
            self._gaps.popleft()
        return replace(seen, final=seen.final + final) if final else seen

    def _see(self, raw: int | None) -> Seen:
        first, final = self._range or (0, MAX_ID)
        if raw is None or not first <= raw <= final:
            return self._without(raw)
        last = self._last
        if last is None or self._anew:
            return self._begin(raw, "" if last is None else Note.IDS_BEGAN_ANEW.text(last))
        step = self._step(raw, last)
        if step == 0:
            return Seen(last, range(0), Note.ID_REPEATS.text(), behind=True)
        unwrapped = last + step if last + step >= first else raw
        if unwrapped < last and (seen := self._out_of_order(unwrapped, last)) is not None:
            return seen
        if not 0 < unwrapped - last <= MAX_GAP:
            return self._begin(unwrapped, Note.ID_JUMPED.text(last, unwrapped))
        self._last, lost = unwrapped, range(last + 1, unwrapped)
        if lost:
            self._gaps.append(Gap(lost, self._frames))
        return Seen(unwrapped, lost, "")

    def _begin(self, device_id: int, note: str) -> Seen:
        self._last = self._first = device_id
        self._anew = False
        return Seen(device_id, range(0), note, final=self.end())

    def _out_of_order(self, device_id: int, last: int) -> Seen | None:
        note = Note.ID_CAME_LATE.text(last)
        for gap in self._gaps:
            if device_id in gap.ids and device_id not in gap.came:
                gap.came.add(device_id)
                return Seen(device_id, range(0), note, late=True, found=gap.told, behind=True)
        if last - device_id > MAX_LATE:
            return None
        if device_id >= self._first:
            return Seen(device_id, range(0), Note.ID_REPEATS.text(), behind=True)
        self._first = device_id
        return Seen(device_id, range(0), note, behind=True)

    def _without(self, raw: int | None) -> Seen:
        if self._last is not None:
            self._last += 1
        elif raw is None:
            return Seen(None, range(0), "")
        note = Note.ID_MISSING.text() if raw is None else Note.ID_OUT_OF_RANGE.text(raw)
        return Seen(None, range(0), note)

    def _step(self, raw: int, last: int) -> int:
        """How far a number is ahead of the last one: the shorter way round, where numbers wrap."""
        if self._range is None:
            return raw - last
        size = self._range[1] - self._range[0] + 1
        ahead = (raw - last) % size
        return ahead if ahead <= (size + 1) // 2 else ahead - size
