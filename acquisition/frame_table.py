"""The truth about a recording: a row for every frame that the device numbered, recorded or lost, and where."""

from collections import Counter
from pathlib import Path

from posestream.acquisition.stamps import Stamped
from posestream.stream.wire.tables import FRAME_COLUMNS, FrameState, TableWriter

__all__ = ["FrameTable"]


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
            self._append((None, device_id, None, None, None, None, None, None), FrameState.LOST_CAMERA, "")

    def recorded(self, frame: Stamped, pts_us: int, note: str) -> None:
        """Note a frame that is in the video, and what was repaired."""
        self._frame(frame, self._video_frames, pts_us, FrameState.RECORDED, note)
        self._video_frames += 1

    def lost(self, frame: Stamped, state: FrameState) -> None:
        """Note a frame that was delivered and is not in the video."""
        self._frame(frame, None, None, state, "")

    def _frame(self, frame: Stamped, video_frame: int | None, pts_us: int | None, state: FrameState, note: str) -> None:
        said = frame.capture
        times = (said.device_time, frame.captured_ns, said.captured_ns, frame.wall_ns)
        notes = "; ".join(filter(None, (frame.note, note)))
        self._append((frame.seq, frame.device_id, *times, video_frame, pts_us), state, notes)

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
