"""The truth about a recording: a row for every frame that the device numbered, recorded or lost, and where."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from posestream.acquisition.camera import Capture
from posestream.stream.wire.tables import FRAME_COLUMNS, FrameState, TableWriter

__all__ = ["DeviceIds", "FrameTable", "Seen"]

MAX_GAP = 100_000
"""Frames; a device id that jumps further means that the device began to count anew, not that frames were lost."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a device id says of the frames before it."""

    lost: range
    """Ids that the device numbered and did not deliver."""
    note: str
    """What is odd about the id; empty where nothing is."""


class DeviceIds:
    """Follows a device's frame ids and finds those that never came."""

    def __init__(self) -> None:
        self._last: int | None = None

    def see(self, device_id: int | None) -> Seen:
        """Take in the id of the next frame that was delivered."""
        last = self._last
        if device_id is None:
            return Seen(range(0), "")
        self._last = device_id
        if last is None or device_id == last + 1:
            return Seen(range(0), "")
        if device_id == last:
            return Seen(range(0), "device id repeats")
        if device_id < last or device_id - last > MAX_GAP:
            return Seen(range(0), f"device id jumped from {last} to {device_id}")
        return Seen(range(last + 1, device_id), "")


class FrameTable:
    """Writes `frames.csv`; one thread writes, any may `sync`.

    Parameters
    ----------
    path
        The file to make.

    Raises
    ------
    OSError
        Where it can't be made; so for `sync` and `close` where it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        """What kept the last row from the disk; it is written before the next one, or at the end."""
        self._table = TableWriter(path, FRAME_COLUMNS)
        self._video_frames = 0
        self.states: Counter[FrameState] = Counter()
        """Rows by state."""

    def lost_by_camera(self, ids: range) -> None:
        """Note ids that the device numbered and did not deliver."""
        for device_id in ids:
            self._append((None, device_id, None, None, None, None, None), FrameState.LOST_CAMERA, "")

    def recorded(self, seq: int, capture: Capture, wall_ns: int, pts_us: int, note: str) -> None:
        """Note a frame that is in the video."""
        self._frame(seq, capture, wall_ns, self._video_frames, pts_us, FrameState.RECORDED, note)
        self._video_frames += 1

    def lost(self, seq: int, capture: Capture, wall_ns: int, state: FrameState, note: str) -> None:
        """Note a frame that was delivered and is not in the video."""
        self._frame(seq, capture, wall_ns, None, None, state, note)

    def _frame(
        self,
        seq: int,
        capture: Capture,
        wall_ns: int,
        video_frame: int | None,
        pts_us: int | None,
        state: FrameState,
        note: str,
    ) -> None:
        times = (capture.device_id, capture.device_time, capture.captured_ns, wall_ns)
        self._append((seq, *times, video_frame, pts_us), state, note)

    def _append(self, cells: tuple[int | None, ...], state: FrameState, note: str) -> None:
        self.states[state] += 1
        try:
            self._table.append((*cells, state.value, note, None))  # the pose state is known when the run is over
        except OSError as error:
            self.error = error

    def sync(self) -> None:
        """Bring the rows to the disk."""
        self._table.sync()

    def close(self) -> None:
        """Sync and close."""
        self._table.close()
