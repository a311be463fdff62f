"""Reads and writes a session's JSON files through their structs; what the struct does not name stays in the file.

A file may come from a later posestream, or hold what is not ours to name, as the settings of a lab's own camera. So a
record is laid over what the file holds: keys that the struct does not name stay, and what has not changed stays to the
letter.
"""

import contextlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from posestream.stream.disk.durable import replacing

__all__ = ["laid_over", "read_record", "write_json", "write_record"]

LARGEST_BYTES = 2**26
"""Of a file."""
DEEPEST = 64
"""Levels of objects and lists in one another."""

Record = TypeVar("Record", bound=msgspec.Struct)


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a record from a file, which anybody may have written.

    Raises
    ------
    ValueError
        Where it is no such record.
    OSError
        Where it can't be read.
    """
    return msgspec.convert(_read(path), kind)


def write_record(path: Path, record: msgspec.Struct, over: object = None) -> None:
    """Write a record over what its file holds, so that a crash leaves the old one or the new one.

    Parameters
    ----------
    path
        The file; it need not be there.
    record
        The record.
    over
        What it is laid over where there is no such file, as JSON has it.

    Raises
    ------
    OSError
        Where it can't be written.
    """
    if path.exists():
        with contextlib.suppress(ValueError):  # what is no such record is replaced as a whole
            found = _read(path)
            msgspec.convert(found, type(record))
            over = found
    write_json(path, laid_over(over, record))


def write_json(path: Path, value: object) -> None:
    """Write a JSON file so that a crash leaves the old one or the new one, never half of one."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, allow_nan=False)
        file.write("\n")


def laid_over(old: object, new: object) -> object:
    """Give the JSON of a record laid over older JSON: keys that its structs do not name stay as they are."""
    before = old if isinstance(old, dict) else {}
    if isinstance(new, msgspec.Struct):
        if before and _says_same(before, new):
            return before
        present = msgspec.to_builtins(new)
        fields = {field.encode_name: field.name for field in msgspec.structs.fields(new)}
        written = {key: laid_over(before.get(key), getattr(new, fields[key])) for key in fields if key in present}
        kept = {key: value for key, value in before.items() if key not in fields}
        return {key: (kept | written)[key] for key in (*before, *written) if key in written or key in kept}
    if isinstance(new, dict):
        return {str(key): laid_over(before.get(key), value) for key, value in new.items()}
    return msgspec.to_builtins(new)


def _says_same(old: object, new: msgspec.Struct) -> bool:
    try:
        return msgspec.convert(old, type(new)) == new
    except msgspec.ValidationError:
        return False


def _read(path: Path) -> object:
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, more than one of ours ever has")
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"), parse_constant=_number, parse_float=_number)
        _check_depth(value)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:100]} is no number in JSON")
    return number


def _check_depth(value: object) -> None:
    """Refuse what goes too deep: all of it is written again, and that goes less deep than reading does."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
