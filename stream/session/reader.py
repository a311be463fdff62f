"""Opens a session, one's own or a stranger's: the folder is looked through, and its records are checked, before use."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from posestream.stream.session.inside import OutsideError, check_inside
from posestream.stream.session.record_checks import SessionRecord, SummaryRecord
from posestream.stream.wire.errors import InputError, UserError

__all__ = ["NoSessionError", "SummaryError", "backfill_was_cut_off", "load_session", "read_summary"]

LARGEST_BYTES = 2**26
"""Of `session.json` and `summary.json`."""
DEEPEST = 64
"""Levels of objects and lists in one another."""


class NoSessionError(InputError):
    """A folder that is no session, or that can't be opened safely; the text is for people."""


class SummaryError(UserError, ValueError):
    """A `summary.json` that can't be used; the text is for people."""


def load_session(folder: Path) -> dict[str, Any]:
    """Read `session.json`, as `SessionRecord` describes it, and see that nothing in the folder leads out of it.

    Raises
    ------
    NoSessionError
        Where there is none, or it can't be read, or the folder holds a link that leads out of it.
    """
    path = folder / "session.json"
    try:
        if not path.exists():
            raise FileNotFoundError("there is no such file")
        check_inside(folder)
        return _read(path, SessionRecord)
    except OutsideError as error:
        raise NoSessionError(f"{folder} is not opened: {error}") from error
    except (OSError, ValueError) as error:
        raise NoSessionError(f"{folder} is no session folder: session.json: {error}") from error


def read_summary(folder: Path) -> dict[str, Any]:
    """Read `summary.json`, as `SummaryRecord` describes it; nothing where there is none, as after a kill.

    Raises
    ------
    SummaryError
        Where it can't be read, or says what no run writes.
    """
    path = folder / "summary.json"
    if not path.exists():
        return {}
    try:
        return _read(path, SummaryRecord)
    except (OSError, ValueError) as error:
        raise SummaryError(str(error)) from error


def backfill_was_cut_off(session: dict[str, Any]) -> bool:
    """Whether a backfill of this session is under way, or was killed on its way."""
    return bool(session.get("backfill", {}).get("state") == "running")


def _read(path: Path, record: type[msgspec.Struct]) -> dict[str, Any]:
    """Give a JSON object as it stands there, once it is known to be what it should be."""
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, more than one of ours ever has")
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_number, parse_float=_number)
        _check_depth(value)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    msgspec.convert(value, record)
    return dict(value)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:100]} is no number in JSON")
    return number


def _check_depth(value: Any) -> None:
    """Refuse what goes too deep: all of it is written again, and that goes less deep than reading does."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _inside(outer)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
