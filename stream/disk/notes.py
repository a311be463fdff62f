"""What is odd about a frame, or was repaired: the notes in `frames.csv`, written and read back in this one place.

A cell holds any number of notes, one after the other with `; ` between them. Programs ask for a `Note`; the text is for
people, and its wording is a part of the file's format: sessions of years ago hold it.
"""

import re
from collections.abc import Iterable
from enum import Enum
from functools import cached_property, lru_cache

__all__ = ["DEVICE_ID_NOTES", "REPAIRED_TIMES", "Note", "gap_s", "join_notes", "notes_in"]

BETWEEN = "; "
CACHED = 4_096


class Note(Enum):
    """A note; its value is the text, with `{}` for each number in it."""

    IDS_BEGAN_ANEW = "device ids began anew after {}"
    """The device was opened again; the number is the last id before."""
    ID_JUMPED = "device id jumped from {} to {}"
    """Further than frames are ever lost in a row, so that the device began to count anew."""
    ID_CAME_LATE = "device id came late, after {}"
    """Others overtook the frame; until the tables are merged its id may have a row `lost-camera` above it."""
    ID_REPEATS = "device id repeats"
    """The frame has the id of one before it."""
    ID_MISSING = "device id missing"
    """The device gave no id, and gave one for others; the frame counts as the next in order."""
    ID_OUT_OF_RANGE = "device id {} is none of its range"
    RECONNECTED = "camera reconnected after {:.3f} s"
    """First frame after the camera was lost; seconds without frames."""
    TIME_WENT_BACK = "its time went back by {:.6f} s; the arrival is used"
    """The time that the camera's backend gave."""
    TIME_IN_FUTURE = "its time was {:.6f} s in the future; the arrival is used"
    BEFORE_LAST_FRAME = "captured before the frame before it; that one's time is used"
    DEVICE_TIME_MISSING = "device time missing"
    """The device gave no stamp, and gave one for others; the arrival is used."""
    DEVICE_CLOCK_WENT_BACK = "device clock went back"
    DEVICE_CLOCK_JUMPED = "device clock jumped ahead"
    DEVICE_CLOCK_UNUSABLE = "device clock does not run at the rate that it says; arrivals are used"
    """From this frame on."""
    PTS_REPAIRED = "presentation time repaired"
    """This frame's alone, so that times in the video rise."""
    PTS_CLOCK_SET_BACK = "presentation time repaired: the clock was set back"
    """This frame and all behind it are moved."""
    PTS_LONG_PAUSE = "presentation time repaired: pause too long for the container"
    """This frame and all behind it are moved."""
    ENCODER_TIME = "encoder gave time {}"
    """Another presentation time, in microseconds, than it was given."""
    NOT_IN_VIDEO = "was written and is not in the video"
    """The row said `recorded` and does so no more; by `recover`, as all that follow."""
    WAITED = "waited for the encoder when the camera's process ended"
    """The row said `delivered`, and the frame is not in the video."""
    FROM_VIDEO = "row made from the video"
    """The frame is known by its place in the video, not by its time."""
    FROM_POSES = "known from the pose stream alone"
    FROM_COUNTER = "known from the camera's counter alone"

    def text(self, *numbers: float) -> str:
        """Give the text with its numbers."""
        return str(self.value).format(*numbers)

    @property
    def beginning(self) -> str:
        """The text before its first number, which a line of the table holds if it has this note."""
        return str(self.value).partition("{")[0]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds the note in a cell, with a group for each number."""
        parts = re.split(r"\{[^}]*\}", str(self.value))
        return re.compile(f"(?:^|{BETWEEN}){'(-?[0-9.]+)'.join(map(re.escape, parts))}(?={BETWEEN}|$)")


DEVICE_ID_NOTES = (Note.IDS_BEGAN_ANEW, Note.ID_JUMPED, Note.ID_REPEATS, Note.ID_MISSING, Note.ID_OUT_OF_RANGE)
"""Notes of frames whose device id does not follow from the one before. One that came late follows, elsewhere."""
REPAIRED_TIMES = (Note.PTS_REPAIRED, Note.PTS_CLOCK_SET_BACK, Note.PTS_LONG_PAUSE)
"""Notes of frames whose time in the video does not follow from that of the capture."""


def join_notes(texts: Iterable[str]) -> str:
    """Give the cell for some notes; empty ones are left out."""
    return BETWEEN.join(filter(None, texts))


@lru_cache(CACHED)
def notes_in(cell: str) -> frozenset[Note]:
    """Give the notes in a cell; what is none of them is not looked at."""
    return frozenset(note for note in Note if note.pattern.search(cell)) if cell else frozenset()


def gap_s(cell: str) -> float | None:
    """Give the seconds without frames before a frame that is the first of a camera that was lost; None of others."""
    found = Note.RECONNECTED.pattern.search(cell)
    return float(found.group(1)) if found is not None else None
