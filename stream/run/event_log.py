"""The supervisor's log of a session's events, on a disk that may become full."""

import contextlib
import json
import time
from pathlib import Path

import msgspec

from posestream.stream.disk.reserve import DiskReserve
from posestream.stream.disk.tables import LineWriter
from posestream.stream.session.events import EVENTS
from posestream.stream.wire.messages import Event

__all__ = ["EventLog"]

RESERVE_BYTES = 4 * 2**20
"""Held back on the disk for the events, the summary and DeepLabCut's files."""
SYNC_S = 1.0


class EventLog:
    """Writes `events.jsonl`, from `open` to `close`; what comes before or after is not written."""

    def __init__(self) -> None:
        self._lines: LineWriter | None = None
        self._reserve: DiskReserve | None = None
        self._synced = 0.0

    def open(self, folder: Path) -> None:
        """Make the file in a session's folder, and hold space back.

        Raises
        ------
        OSError
            Where the disk takes neither.
        """
        self._reserve = DiskReserve(folder, RESERVE_BYTES)
        self._lines = LineWriter(folder / EVENTS)

    def write(self, event: Event) -> None:
        """Write an event; what the disk refuses is written with the next one, or at the end."""
        if self._lines is not None:
            try:
                self._lines.write(json.dumps(msgspec.to_builtins(event)).encode() + b"\n")
            except OSError:
                self._release()

    def sync(self) -> None:
        """Bring what was written to the disk, once a second."""
        if time.monotonic() - self._synced > SYNC_S:
            self._synced = time.monotonic()
            with contextlib.suppress(OSError):  # said at the end, when the log is closed
                if self._lines is not None:
                    self._lines.sync()

    def close(self) -> str:
        """Give back the space and close the file; says what is missing in it, empty where nothing is."""
        self._release()
        lines, self._lines = self._lines, None
        try:
            if lines is not None:
                lines.close()
        except OSError as error:
            return f"{EVENTS} is not complete: {error.strerror}"
        return ""

    def _release(self) -> None:
        if self._reserve is not None:
            self._reserve.release()
