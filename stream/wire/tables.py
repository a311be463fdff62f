"""The tables that a run leaves on disk, written row by row as it goes.

They are CSV (RFC 4180, UTF-8, one header line): every program reads them, and a file that a crash cut short is whole
up to its last line end. Rows go to the operating system as they are appended, so that they outlive the process;
`sync` brings them to the disk.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path

__all__ = [
    "FRAME_COLUMNS",
    "LOST_STATES",
    "POSE_COLUMNS",
    "SKIPPED_COLUMNS",
    "FrameState",
    "LineWriter",
    "TableWriter",
    "pose_columns",
    "whole_lines",
]


class FrameState(StrEnum):
    """What became of a frame that the device numbered."""

    RECORDED = "recorded"
    """It is in the video."""
    LOST_CAMERA = "lost-camera"
    """The device numbered it and never delivered it."""
    LOST_QUEUE = "lost-queue"
    """The encoder was so far behind that its queue was full."""
    ENCODER_ERROR = "encoder-error"
    """The encoder or the disk refused it."""
    INTERRUPTED = "interrupted"
    """The camera's process was killed before it was in the video."""
    NOT_RECORDED = "not-recorded"
    """The camera runs without recording."""


LOST_STATES = (FrameState.LOST_CAMERA, FrameState.LOST_QUEUE, FrameState.ENCODER_ERROR, FrameState.INTERRUPTED)
"""States of frames that should be in the video and are not."""

FRAME_COLUMNS = (
    "seq",  # number of the frame in the stream; empty where the device lost it
    "device_id",  # the device's number; empty where it has none
    "device_time",  # the device's stamp in raw ticks; empty where it has none
    "captured_ns",  # exposure, machine's monotonic clock
    "wall_ns",  # the same by the wall clock
    "video_frame",  # index of the frame in the video; empty where it is not in it
    "pts_us",  # presentation time in the video, microseconds from the first frame
    "state",  # a `FrameState`
    "note",  # what was repaired or is odd
)
"""Columns of `frames.csv`: one row for every frame that the device numbered, in that order."""

POSE_COLUMNS = (
    "frame_seq",
    "device_id",
    "pose_seq",
    "captured_ns",
    "sent_ns",
    "received_ns",
    "batched_ns",
    "inferred_ns",
    "published_ns",
    "subscribed_ns",  # when the recorder, a subscriber like any other, had it
    "batch_size",
)
"""Columns of `poses.csv` before those of the keypoints: x, y and likelihood of each body part."""

SKIPPED_COLUMNS = ("first_seq", "last_seq", "count", "cause")
"""Columns of `skipped.csv`: runs of frames that got no live pose."""


def pose_columns(bodyparts: Iterable[str]) -> tuple[str, ...]:
    """Columns of `poses.csv` for a network's body parts."""
    return POSE_COLUMNS + tuple(f"{part}_{value}" for part in bodyparts for value in ("x", "y", "likelihood"))


class LineWriter:
    """Appends whole lines to a new file; what the disk refuses is kept and written first when the next line comes.

    Parameters
    ----------
    path
        The file, which must not be there yet.

    Raises
    ------
    OSError
        Where the file can't be made or written; so for every method.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._unwritten = b""

    def write(self, line: bytes) -> None:
        """Hand a line to the operating system."""
        self._unwritten += line
        self._flush()

    def _flush(self) -> None:
        while self._unwritten:  # a nearly full disk may take a part of a line
            self._unwritten = self._unwritten[self._file.write(self._unwritten) :]

    def sync(self) -> None:
        """Bring what was written to the disk, so that it outlives a power failure."""
        if not self._file.closed:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write what is left, sync and close; safe to call twice."""
        if not self._file.closed:
            try:
                self._flush()
                self.sync()
            finally:
                self._file.close()


class TableWriter:
    """Appends rows to a new CSV file; one thread appends, any may `sync`.

    Parameters
    ----------
    path
        The file, which must not be there yet.
    columns
        Its header line.

    Raises
    ------
    OSError
        Where the file can't be made or written.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.rows = 0
        self._width = len(columns)
        self._file = LineWriter(path)
        self._line = io.StringIO(newline="")
        self._csv = csv.writer(self._line, lineterminator="\n")
        self._write(columns)

    def append(self, row: Sequence[object]) -> None:
        """Append one row; None is an empty cell. A row that the disk refuses is written before the next one."""
        if len(row) != self._width:
            raise ValueError(f"{self.path.name} has {self._width} columns, the row has {len(row)}")
        self.rows += 1
        self._write(row)

    def _write(self, row: Sequence[object]) -> None:
        self._csv.writerow(row)
        line = self._line.getvalue().encode()
        self._line.seek(0)
        self._line.truncate()
        self._file.write(line)

    def sync(self) -> None:
        """Bring what was appended to the disk, so that it outlives a power failure."""
        self._file.sync()

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()


def whole_lines(path: Path) -> bytes:
    """Bytes of a table up to its last line end: what a crash cut off is left out."""
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]
