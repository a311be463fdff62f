"""`events.jsonl` of a session: what happened, a JSON object a line, as it was told."""

import json
from collections import Counter
from pathlib import Path

import msgspec

from posestream.stream.disk.tables import whole_lines

__all__ = ["EVENTS", "LoggedEvent", "count_events", "read_events"]

EVENTS = "events.jsonl"


class LoggedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What programs read of a line; it holds all of `posestream.stream.wire.messages.Event`."""

    name: str
    """What happened, in one word: `lost-camera`, `reconnected`, `end` ..."""
    session: str = ""
    """Id of the session."""
    source: str = ""
    """The camera that it concerns, or `inference`."""
    data: dict[str, int | float | str | bool | None] = {}
    """Numbers and words that belong to it, by name."""

    def number(self, key: str) -> float:
        """Give a number of its data; 0 where it has none of that name."""
        value = self.data.get(key)
        return value if isinstance(value, int | float) else 0


def read_events(folder: Path) -> list[LoggedEvent]:
    """Read the events of a session, as far as whole lines go.

    Raises
    ------
    OSError, ValueError
        Where they can't be read.
    """
    try:
        lines = [json.loads(line) for line in whole_lines(folder / EVENTS).splitlines()]
        return msgspec.convert(lines, list[LoggedEvent])
    except RecursionError as error:
        raise ValueError(f"{EVENTS} is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise ValueError(f"{EVENTS} has lines that are no events: {error}") from error


def count_events(folder: Path) -> dict[str, int]:
    """How many events of each name a session has.

    Raises
    ------
    OSError, ValueError
        Where they can't be read.
    """
    return dict(sorted(Counter(event.name for event in read_events(folder)).items()))
