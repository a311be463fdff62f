"""Presentation times of a video: those of the capture, made to rise as players and containers need it."""

from posestream.stream.disk.notes import Note

__all__ = ["PresentationTimes"]

MAX_STEP_US = 2_000_000_000
"""Microseconds between two frames that a container holds: mp4 keeps a frame's duration in 31 bits."""
MAX_BACK_US = 1_000_000
"""A time that goes back further, microseconds, was set anew; times go on from there."""


class PresentationTimes:
    """Gives each frame its time in the video, microseconds from the first frame, always above the one before.

    Parameters
    ----------
    tick_us
        Microseconds that the container counts in, to the nearest: no two frames get a time of the same tick.
    """

    def __init__(self, tick_us: int = 1) -> None:
        self._tick_us = tick_us
        self._first_ns: int | None = None
        self._last_us = -tick_us
        self._step_us = tick_us
        self._shift_us = 0  # what repairs have moved the frames by

    def next(self, time_ns: int) -> tuple[int, str]:
        """Give the next frame's time.

        Parameters
        ----------
        time_ns
            When it was captured, nanoseconds of any clock.

        Returns
        -------
        pts_us
            Its time in the video.
        note
            How that had to be repaired; empty where it had not.
        """
        if self._first_ns is None:
            self._first_ns = time_ns
        pts_us, note = (time_ns - self._first_ns) // 1_000 - self._shift_us, ""
        if pts_us <= self._last_us - MAX_BACK_US:
            pts_us = self._shifted(pts_us, self._last_us + max(self._step_us, self._tick_us))
            note = Note.PTS_CLOCK_SET_BACK.text()
        elif self._ticks(pts_us) <= self._ticks(self._last_us):
            pts_us, note = (self._ticks(self._last_us) + 1) * self._tick_us, Note.PTS_REPAIRED.text()
        elif self._last_us >= 0 and pts_us - self._last_us > MAX_STEP_US:
            pts_us = self._shifted(pts_us, self._last_us + MAX_STEP_US)
            note = Note.PTS_LONG_PAUSE.text()
        elif self._last_us >= 0:
            self._step_us = pts_us - self._last_us
        self._last_us = pts_us
        return pts_us, note

    def _ticks(self, time_us: int) -> int:
        return (time_us + self._tick_us // 2) // self._tick_us

    def _shifted(self, pts_us: int, to_us: int) -> int:
        self._shift_us += pts_us - to_us
        return to_us
