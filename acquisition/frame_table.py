"""The truth about a recording: a row for every frame that the device numbered, in the moment in which it is delivered.

What becomes of a frame in the encoder is known later, and written to a table of its own: so no row waits for the
encoder, and a kill leaves every frame with its row. When all is closed the two become one.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from posestream.acquisition.stamps import Stamped
from posestream.stream.disk.frame_merge import FRAMES, PACKETS
from posestream.stream.disk.tables import FRAME_COLUMNS, PACKET_COLUMNS, FrameState, TableWriter

__all__ = ["FrameTable", "PacketTable"]


class _Table:
    """A table whose rows may be refused by the disk: those are written before the next one, or at the end."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.error: OSError | None = None
        """What kept the last row from the disk."""
        self.states: Counter[FrameState] = Counter()
        """Rows by state."""
        self._table = TableWriter(path, columns)

    def _append(self, cells: Sequence[object], state: FrameState) -> None:
        self.states[state] += 1
        try:
            self._table.append(cells)
        except OSError as error:
            self.error = error

    def sync(self) -> None:
        """Bring the rows to the disk; any thread may call it."""
        self._table.sync()

    def close(self) -> None:
        """Sync and close."""
        self._table.close()


class FrameTable(_Table):
    """Writes `frames.csv`; one thread writes.

    Parameters
    ----------
    folder
        Where to make it.

    Raises
    ------
    OSError
        Where it can't be made; so for `sync` and `close` where it can't be written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FRAMES, FRAME_COLUMNS)

    def delivered(self, frame: Stamped, state: FrameState) -> None:
        """Note a frame as it is delivered, and before it what the device numbered and has not delivered."""
        for device_id in frame.lost:
            self._row((None, device_id, None, None, None, None), FrameState.LOST_CAMERA, "")
        said = frame.capture
        if frame.late:  # its row `lost-camera` goes when the tables are merged
            self.states[FrameState.LOST_CAMERA] -= 1
        times = (said.device_time, frame.captured_ns, said.captured_ns, frame.wall_ns)
        self._row((frame.frame_seq, frame.device_id, *times), state, frame.note)

    def _row(self, cells: tuple[int | None, ...], state: FrameState, note: str) -> None:
        # Place and time in the video and the checksum are known later, the pose when the run is over
        self._append((*cells, None, None, None, state.value, note, None), state)


class PacketTable(_Table):
    """Writes `packets.csv`; one thread writes.

    Parameters
    ----------
    folder
        Where to make it.

    Raises
    ------
    OSError
        Where it can't be made; so for `sync` and `close` where it can't be written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / PACKETS, PACKET_COLUMNS)

    def recorded(self, frame_seq: int, pts_us: int, crc32: int, note: str) -> None:
        """Note a frame whose packet was written to the video, and what was repaired."""
        place = self.states[FrameState.RECORDED]
        self._append((frame_seq, place, pts_us, f"{crc32:08x}", FrameState.RECORDED.value, note), FrameState.RECORDED)

    def lost(self, frame_seq: int, state: FrameState) -> None:
        """Note a frame that the encoder or the disk refused, or that had waited too long."""
        self._append((frame_seq, None, None, None, state.value, ""), state)
