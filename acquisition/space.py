"""Watches the disk that a camera's process writes to, so that a run ends before it is full and not because it is."""

from collections import deque
from pathlib import Path
from shutil import disk_usage

from posestream.stream.wire.errors import UserError

__all__ = ["DiskFullError", "SpaceWatch"]

LOOK_S = 1.0
SAMPLES = 60
"""Looks over which the rate is taken at which the disk fills."""
WARN_S = 600.0
"""Seconds left at that rate below which there is a warning."""
RATE_S = 10.0
"""Seconds that must have been seen before the rate is believed."""


class DiskFullError(UserError):
    """A disk with too little space to go on; the text is for people."""


class SpaceWatch:
    """Looks at the free space about once a second.

    Parameters
    ----------
    folder
        A folder on the disk.
    stop_bytes
        Free space below which the run must end; at twice that there is a warning.
    """

    def __init__(self, folder: Path, stop_bytes: int) -> None:
        self._folder, self._stop_bytes = folder, stop_bytes
        self._seen: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._warned = False
        self.free_bytes: int | None = None
        """What was free when it was last looked at."""

    def look(self, now_s: float, owed_bytes: int) -> str:
        """Look, if it is time to.

        Parameters
        ----------
        now_s
            Seconds of a monotonic clock.
        owed_bytes
            What is still to be written when the run ends, as far as can be told; it counts as written.

        Returns
        -------
        str
            A warning, once until there is plenty again; empty where there is none.

        Raises
        ------
        DiskFullError
            Where there is too little.
        OSError
            Where the folder is gone.
        """
        if self._seen and now_s - self._seen[-1][0] < LOOK_S:
            return ""
        return self.judge(now_s, disk_usage(self._folder).free, owed_bytes)

    def judge(self, now_s: float, free_bytes: int, owed_bytes: int = 0) -> str:
        """Judge what was free at a time; returns and raises what `look` does."""
        self.free_bytes = free_bytes
        free_bytes -= owed_bytes
        self._seen.append((now_s, free_bytes))
        if free_bytes < self._stop_bytes:
            owed = f" and {_size(owed_bytes)} still to be written" if owed_bytes else ""
            raise DiskFullError(
                f"the disk of {self._folder} has {_size(self.free_bytes)} free{owed}, less than the "
                f"{_size(self._stop_bytes)} of session.stop_free_gib; the run ends while the files can be closed"
            )
        left_s = self._left_s(free_bytes)
        if free_bytes >= 2 * self._stop_bytes and left_s > WARN_S:
            if left_s > 2 * WARN_S:
                self._warned = False
            return ""
        if self._warned:
            return ""
        self._warned = True
        left = f", enough for {left_s / 60:.1f} minutes at the present rate" if left_s != float("inf") else ""
        return (
            f"the disk of {self._folder} has {_size(self.free_bytes)} free{left}; "
            f"the run ends at {_size(self._stop_bytes)}"
        )

    def _left_s(self, free_bytes: int) -> float:
        """Seconds until the run must end, at the rate of the last minute, whoever fills the disk."""
        (then_s, then_bytes), (now_s, _) = self._seen[0], self._seen[-1]
        used = then_bytes - free_bytes
        if now_s - then_s < RATE_S or used <= 0:
            return float("inf")
        return (free_bytes - self._stop_bytes) / used * (now_s - then_s)


def _size(number_bytes: int) -> str:
    return f"{number_bytes / 2**30:.2f} GiB"
