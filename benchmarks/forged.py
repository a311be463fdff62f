"""A manipulation of a session, and the small changes of which all are made."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "Change",
    "Manipulation",
    "append_byte",
    "change_rows",
    "edit_json",
    "flip_byte",
    "put_in_place",
    "read_table",
    "write_table",
]

Change = Callable[[Path], object]
"""What changes a copy of a session; what it gives back does not matter."""


@dataclass(frozen=True)
class Manipulation:
    """What is done to a session."""

    name: str
    kind: str
    """What it is done to: a video, a table, DeepLabCut's files, what the run says of itself, or files as such."""
    change: Change
    harmless: bool = False


def flip_byte(path: Path) -> None:
    """Invert the byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def append_byte(path: Path) -> None:
    """Append a byte to a file."""
    path.write_bytes(path.read_bytes() + b"\0")


def put_in_place(source: Path, target: Path) -> None:
    """Put a copy of a file in the place of another."""
    target.unlink()
    shutil.copyfile(source, target)


def read_table(path: Path) -> list[list[str]]:
    """Read a table, its header first."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def write_table(path: Path, rows: list[list[str]]) -> None:
    """Write a table."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def change_rows(path: Path, change: Callable[[list[list[str]]], object]) -> None:
    """Change the rows below the header."""
    header, *rows = read_table(path)
    change(rows)
    write_table(path, [header, *rows])


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file."""
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said, indent=2) + "\n")
