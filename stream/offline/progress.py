"""How far work on many frames, or on large files, is."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from posestream.stream.wire.counters import WorkProgress

__all__ = ["Progress", "reading"]

SHOW_S = 0.25


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work on one camera or video is."""

    name: str
    """The camera's or the video's."""
    done: int
    """Frames that have got their pose in this call."""
    total: int
    """Frames that are to get one in this call; 0: nobody knows."""
    seconds: float
    """Seconds since this call began with the frames."""
    before: int = 0
    """Frames that had their pose before this call."""
    unit: str = "frames"
    """What is counted, where it is not frames."""

    @property
    def by_name(self) -> dict[str, WorkProgress]:
        """By the camera or video, as it is shown: frames of the whole work, frames a second in this call."""
        rate = self.done / self.seconds if self.seconds > 0 else 0.0
        return {
            self.name: WorkProgress(
                done=self.before + self.done,
                total=self.before + self.total if self.total else 0,
                per_second=rate,
                left_s=max(self.total - self.done, 0) / rate if rate else None,
                unit=self.unit,
            )
        }


def reading(name: str, show: Callable[[dict[str, WorkProgress]], None]) -> Callable[[int, int], None]:
    """Give a function that takes the bytes that were read and those that are to be, and shows them now and then.

    Parameters
    ----------
    name
        What is being read.
    show
        Who shows it; not called where all is read at once.
    """
    began = shown = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown > SHOW_S:
            shown = now
            show(Progress(name, done // 2**20, total // 2**20, now - began, unit="MiB").by_name)

    return tell
