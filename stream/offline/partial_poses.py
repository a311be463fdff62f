"""Poses of a video that is being analysed, kept as they come, so that what was cut off goes on.

The file is one line of JSON, which says what the poses are of and how they come about, and then float64 numbers (little
endian), as many for each frame. Whoever is killed on the way leaves whole numbers of frames and at most a part of one.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posestream.stream.disk.links import refuse_link
from posestream.stream.disk.tables import LineWriter

__all__ = ["PartialPoses"]

VALUE = np.dtype("<f8")


class PartialPoses:
    """The file; goes on with the one that is there if it is of the same settings, and begins anew else.

    Parameters
    ----------
    path
        The file.
    settings
        All that the poses depend on, as JSON has it.
    width
        Numbers of a frame.
    batch_size
        What is kept ends with a batch, so that those behind are the same as without a break.

    Raises
    ------
    OSError
        Where it can't be read or written; so for every method.
    """

    def __init__(self, path: Path, settings: Mapping[str, object], *, width: int, batch_size: int) -> None:
        self._path, self._width = path, width
        header = _header(settings)
        refuse_link(path)
        self._begin = len(header)
        size = path.stat().st_size if is_of(path, settings) else 0
        self.replaces = path.exists() and not size
        """Whether a file of other settings was there, which is gone now."""
        step = batch_size * self._row_bytes
        self.kept = max(0, size - self._begin) // step * batch_size
        """Frames that an earlier call left."""
        self.frames = self.kept
        """Frames that are in the file."""
        self._file = LineWriter(path, self._begin + self.kept * self._row_bytes if size else 0)
        if not size:
            self._file.write(header)

    @property
    def _row_bytes(self) -> int:
        return self._width * VALUE.itemsize

    def append(self, values: NDArray[np.float64]) -> None:
        """Append frames, (B, ...): the numbers of each in a row."""
        rows = np.ascontiguousarray(values, VALUE).reshape(-1, self._width)
        self._file.write(rows.tobytes())
        self.frames += len(rows)

    def sync(self) -> None:
        """Bring what was appended to the disk."""
        self._file.sync()

    def read(self) -> NDArray[np.float64]:
        """Give all frames, (frames, width)."""
        return np.fromfile(self._path, VALUE, offset=self._begin).reshape(-1, self._width)

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()


def is_of(path: Path, settings: Mapping[str, object]) -> bool:
    """Say whether a file is there that was begun with these settings."""
    header = _header(settings)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _header(settings: Mapping[str, object]) -> bytes:
    return json.dumps(settings, sort_keys=True).encode() + b"\n"
