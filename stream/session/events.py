"""`events.jsonl` of a session: what happened, a JSON object a line, as it was told."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from posestream.stream.disk.tables import whole_lines

__all__ = ["EVENTS", "count_events", "read_events"]

EVENTS = "events.jsonl"


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Read the events of a session, as far as whole lines go.

    Raises
    ------
    OSError, ValueError
        Where they can't be read.
    """
    try:
        events = [json.loads(line) for line in whole_lines(folder / EVENTS).splitlines()]
    except RecursionError as error:
        raise ValueError(f"{EVENTS} is nested too deeply") from error
    if not all(isinstance(event, dict) and isinstance(event.get("name"), str) for event in events):
        raise ValueError(f"{EVENTS} has lines that are no events")
    return events


def count_events(folder: Path) -> dict[str, int]:
    """How many events of each name a session has.

    Raises
    ------
    OSError, ValueError
        Where they can't be read.
    """
    return dict(sorted(Counter(event["name"] for event in read_events(folder)).items()))
