"""The tables that a run leaves on disk, written row by row as it goes.

They are CSV (RFC 4180, UTF-8, one header line): every program reads them, and a file that a crash cut short is whole
up to its last line end. Rows go to the operating system as they are appended, so that they outlive the process;
`sync` brings them to the disk.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BACKFILLED_COLUMNS",
    "FRAME_COLUMNS",
    "LOST_STATES",
    "PACKET_COLUMNS",
    "POSE_COLUMNS",
    "SKIPPED_COLUMNS",
    "FrameState",
    "LineWriter",
    "PoseState",
    "SkipCause",
    "TableWriter",
    "backfilled_columns",
    "keypoint_cells",
    "pose_columns",
    "whole_lines",
]


class FrameState(StrEnum):
    """What became of a frame that the device numbered."""

    DELIVERED = "delivered"
    """It was handed to the encoder; what became of it is in `packets.csv` until the camera's process closes its files.
    A closed session has none."""
    RECORDED = "recorded"
    """It is in the video."""
    LOST_CAMERA = "lost-camera"
    """The device numbered it and never delivered it."""
    LOST_QUEUE = "lost-queue"
    """The encoder was so far behind that there was no room or no time for one more frame."""
    ENCODER_ERROR = "encoder-error"
    """The encoder or the disk refused it."""
    INTERRUPTED = "interrupted"
    """The camera's process was killed before it was in the video."""
    NOT_RECORDED = "not-recorded"
    """The camera runs without recording."""


class PoseState(StrEnum):
    """Where the pose of a frame is."""

    LIVE = "live"
    """In `poses.csv`: it was on the stream while the run went on."""
    BACKFILLED = "backfilled"
    """In `backfilled.csv`: it was computed from the video after the run."""
    NONE = "none"
    """Nowhere."""


class SkipCause(StrEnum):
    """Why a frame got no live pose."""

    FRESHER_FRAME = "fresher-frame"
    """A newer frame of its camera came before the engine was free (mode `freshest`)."""
    QUEUE_FULL = "queue-full"
    """The queue before the engine was full (mode `every-frame`)."""
    LOST_ON_WIRE = "lost-on-wire"
    """It never reached inference."""
    STOPPED = "stopped"
    """Inference was ended while it waited."""
    ENGINE_ERROR = "engine-error"
    """The engine failed."""
    INVALID_POSE = "invalid-pose"
    """The engine gave a pose that is not finite, or whose likelihood is not within 0 to 1."""
    INTERRUPTED = "interrupted"
    """A process was killed before it could say why; by `recover`."""


LOST_STATES = (FrameState.LOST_CAMERA, FrameState.LOST_QUEUE, FrameState.ENCODER_ERROR, FrameState.INTERRUPTED)
"""States of frames that should be in the video and are not."""

FRAME_COLUMNS = (
    "seq",  # number of the frame in the stream; empty where the device lost it
    "device_id",  # the device's number, unwrapped; empty where it has none
    "device_time",  # the device's stamp in raw ticks; empty where it has none
    "captured_ns",  # exposure, machine's monotonic clock: the device's stamp mapped to it, or else the arrival
    "arrived_ns",  # when the frame was there, machine's monotonic clock
    "wall_ns",  # `captured_ns` by the wall clock
    "video_frame",  # index of the frame in the video; empty where it is not in it
    "pts_us",  # presentation time in the video, microseconds from the first frame
    "crc32",  # of its packet in the video, 8 hex digits: `posestream.stream.disk.packets`; empty where it is not in it
    "state",  # a `FrameState`
    "note",  # what was repaired or is odd: `posestream.stream.disk.notes`
    "pose",  # a `PoseState`; empty until the session is closed, for nobody knows it before
)
"""Columns of `frames.csv`: one row for every frame that the device numbered, in that order."""

PACKET_COLUMNS = (
    "seq",
    "video_frame",
    "pts_us",
    "crc32",
    "state",  # `recorded`, `encoder-error` where it was refused, `lost-queue` where it had waited too long
    "note",  # what was repaired
)
"""Columns of `packets.csv`: what became of each frame that was handed to the encoder, in that order."""

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

BACKFILLED_COLUMNS = ("frame_seq", "video_frame")
"""Columns of `backfilled.csv` before those of the keypoints, which are those of `poses.csv`."""

SKIPPED_COLUMNS = ("first_seq", "last_seq", "count", "cause")
"""Columns of `skipped.csv`: runs of frames that got no live pose."""


def pose_columns(bodyparts: Iterable[str]) -> tuple[str, ...]:
    """Columns of `poses.csv` for a network's body parts."""
    return POSE_COLUMNS + _keypoint_columns(bodyparts)


def backfilled_columns(bodyparts: Iterable[str]) -> tuple[str, ...]:
    """Columns of `backfilled.csv` for a network's body parts."""
    return BACKFILLED_COLUMNS + _keypoint_columns(bodyparts)


def _keypoint_columns(bodyparts: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{part}_{value}" for part in bodyparts for value in ("x", "y", "likelihood"))


def keypoint_cells(keypoints: NDArray[np.float32]) -> Iterator[str]:
    """Cells of one pose, (K, 3) float32: nine significant digits give a float32 back to the last bit."""
    return (f"{value:.9g}" for value in keypoints.ravel().tolist())


class LineWriter:
    """Appends whole lines to a file; what the disk refuses is kept and written first when the next line comes.

    Parameters
    ----------
    path
        The file, which must not be there yet unless something of it is kept.
    keep_bytes
        Go on with the file that is there, after so many bytes of it.

    Raises
    ------
    OSError
        Where the file can't be made or written; so for every method.
    """

    def __init__(self, path: Path, keep_bytes: int | None = None) -> None:
        self._file = path.open("xb" if keep_bytes is None else "ab", buffering=0)
        if keep_bytes is not None:
            self._file.truncate(keep_bytes)
        self._unwritten = b""
        self._changed = True

    def write(self, line: bytes) -> None:
        """Hand a line to the operating system."""
        self._unwritten += line
        self._flush()

    def _flush(self) -> None:
        while self._unwritten:  # a nearly full disk may take a part of a line
            self._unwritten = self._unwritten[self._file.write(self._unwritten) :]
            self._changed = True

    def sync(self) -> None:
        """Bring what was written to the disk, so that it outlives a power failure; any thread may call it."""
        if self._changed and not self._file.closed:
            self._changed = False  # before, as another thread may write meanwhile
            try:
                os.fsync(self._file.fileno())
            except OSError:
                self._changed = True
                raise

    def close(self) -> None:
        """Write what is left, sync and close; safe to call twice."""
        if not self._file.closed:
            try:
                self._flush()
                self.sync()
            finally:
                self._file.close()


class TableWriter:
    """Appends rows to a CSV file; one thread appends, any may `sync`.

    Parameters
    ----------
    path
        The file, which must not be there yet unless `resume`.
    columns
        Its header line.
    resume
        Go on with the file where there is one with this header; a last line that a crash cut short is cut away.

    Raises
    ------
    OSError
        Where the file can't be made or written.
    ValueError
        Where the file to go on with has another header.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, resume: bool = False) -> None:
        self.path = path
        self.rows = 0
        self._width = len(columns)
        self._line = io.StringIO(newline="")
        self._csv = csv.writer(self._line, lineterminator="\n")
        whole = whole_lines(path) if resume and path.exists() else None
        self._file = LineWriter(path, None if whole is None else len(whole))
        if not whole:
            self._write(columns)
        elif not whole.startswith(self._encoded(columns)):
            self._file.close()
            raise ValueError(f"{path} has other columns than {', '.join(columns[:3])} ...")

    def append(self, row: Sequence[object]) -> None:
        """Append one row; None is an empty cell. A row that the disk refuses is written before the next one."""
        if len(row) != self._width:
            raise ValueError(f"{self.path.name} has {self._width} columns, the row has {len(row)}")
        self.rows += 1
        self._write(row)

    def _encoded(self, row: Sequence[object]) -> bytes:
        self._csv.writerow(row)
        line = self._line.getvalue().encode()
        self._line.seek(0)
        self._line.truncate()
        return line

    def _write(self, row: Sequence[object]) -> None:
        self._file.write(self._encoded(row))

    def sync(self) -> None:
        """Bring what was appended to the disk, so that it outlives a power failure."""
        self._file.sync()

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()


def whole_lines(path: Path) -> bytes:
    """Bytes of a table up to the last line end before the first zero byte.

    What a crash cut off is left out, and what follows a hole: a power failure leaves zeros where the disk had made room
    for what was never written there.
    """
    data, _, _ = path.read_bytes().partition(b"\0")
    return data[: data.rfind(b"\n") + 1]
