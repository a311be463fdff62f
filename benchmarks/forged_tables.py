"""Manipulations of the tables of a session: each column by itself, several tables together, DeepLabCut's files."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tables
from forged import Change, Manipulation, change_rows, edit_json, flip_byte, put_in_place, read_table, write_table
from numpy.typing import NDArray

__all__ = ["of_cells", "of_deeplabcut", "of_tables"]

HOUR_NS = 3_600_000_000_000


# Cells of tables: each column of each, one cell and all.


def of_cells(session: Path) -> Iterator[Manipulation]:
    """Give a change of each column of each table: in one row, and in all."""
    for path in sorted((session / "a").glob("*.csv")):
        if path.name.startswith("video"):
            continue
        header, *_ = read_table(path)
        for column in header[: _columns(path.name, header)]:
            for every in (False, True):
                name = f"{path.name}: {'every' if every else 'one'} {column}"
                change = partial(edit_column, table=path.name, column=column, every=every)
                yield Manipulation(name, "a column of a table", partial(_in_a, change))


def _in_a(change: Change, copy: Path) -> None:
    change(copy / "a")


def _columns(table: str, header: list[str]) -> int:
    """How many columns are edited: of keypoints those of the first body part."""
    firsts = [place for place, name in enumerate(header) if name.endswith("_likelihood")]
    return firsts[0] + 1 if firsts else len(header) if table != "truth.csv" else 3


def edit_column(folder: Path, table: str, column: str, every: bool) -> None:
    """Change a column a little, in the middle row or in all."""
    header, *rows = read_table(folder / table)
    place = header.index(column)
    middle = len(rows) // 2
    for number, row in enumerate(rows):
        if every or number == middle:
            row[place] = _other(column, row[place])
    write_table(folder / table, [header, *rows])


def _other(column: str, cell: str) -> str:
    words = {
        "state": {"recorded": "lost-queue"},
        "pose": {"live": "none", "none": "live", "backfilled": "live"},
        "cause": {"fresher-frame": "queue-full"},
        "note": {"": "presentation time repaired"},
    }
    if column in words:
        return words[column].get(
            cell, "recorded" if column == "state" else "fresher-frame" if column == "cause" else ""
        )
    try:
        return str(int(cell) + 1)
    except ValueError:
        pass
    try:
        return f"{float(cell) + 0.25:.9g}"
    except ValueError:
        # An empty cell or one of digits of another base
        return "1" if not cell else cell[:-1] + ("0" if cell[-1] != "0" else "1")


# Tables as wholes, and several of them at once.


def of_tables() -> Iterator[Manipulation]:
    """Give changes of rows, and consistent ones of several tables."""

    def on(name: str, change: Change) -> Manipulation:
        return Manipulation(f"tables: {name}", "tables together", change)

    def hour(copy: Path, anchors: bool) -> None:
        given = "captured arrived wall sent received batched inferred published subscribed"
        times = tuple(f"{name}_ns" for name in given.split())
        _shift_both(copy / "a", times, HOUR_NS)
        if anchors:
            edit_json(copy / "session.json", _later)

    yield on("all times moved by an hour", partial(hour, anchors=False))
    yield on("all times and the anchors moved by an hour", partial(hour, anchors=True))
    yield on("wall times moved by an hour", lambda copy: shift(copy / "a" / "frames.csv", ("wall_ns",), HOUR_NS))
    yield on(
        "captured and arrived moved by 1 ms",
        lambda copy: _shift_both(copy / "a", ("captured_ns", "arrived_ns"), 10**6),
    )
    yield on(
        "device ids moved by 5 in both",
        lambda copy: _shift_both(copy / "a", ("device_id",), 5),
    )
    yield on("inferred_ns of 5", lambda copy: _set(copy / "a" / "poses.csv", "inferred_ns", "5"))
    yield on("one skipped run counts 1000", lambda copy: _set(copy / "a" / "skipped.csv", "count", "1000"))
    yield on(
        "a row of frames.csv twice",
        lambda copy: change_rows(copy / "a" / "frames.csv", lambda rows: rows.insert(9, rows[9])),
    )
    yield on("a row of frames.csv gone", lambda copy: change_rows(copy / "a" / "frames.csv", lambda rows: rows.pop(9)))
    yield on(
        "the last row of frames.csv gone", lambda copy: change_rows(copy / "a" / "frames.csv", lambda rows: rows.pop())
    )
    yield on("two rows of frames.csv exchanged", lambda copy: change_rows(copy / "a" / "frames.csv", _exchange_rows))
    yield on(
        "a row of poses.csv twice",
        lambda copy: change_rows(copy / "a" / "poses.csv", lambda rows: rows.insert(1, rows[1])),
    )
    yield on("a row of poses.csv gone", lambda copy: change_rows(copy / "a" / "poses.csv", lambda rows: rows.pop(0)))
    yield on("a row of skipped.csv gone", lambda copy: change_rows(copy / "a" / "skipped.csv", lambda rows: rows.pop()))
    yield on("a column of frames.csv gone", lambda copy: _drop_column(copy / "a" / "frames.csv", "arrived_ns"))
    yield on("two poses exchanged everywhere", _exchange_poses)
    yield on("those of two cameras exchanged", partial(_exchange, name="frames.csv"))
    yield on("poses of two cameras exchanged", partial(_exchange, name="poses.csv"))


def _shift_both(folder: Path, columns: tuple[str, ...], by: int) -> None:
    for table in ("frames.csv", "poses.csv"):
        shift(folder / table, columns, by)


def _later(session: dict[str, Any]) -> None:
    for anchor in session["clock_anchors"]:
        anchor["monotonic_ns"] += HOUR_NS
        anchor["wall_ns"] += HOUR_NS


def shift(path: Path, columns: tuple[str, ...], by: int) -> None:
    """Add to each cell of some columns."""
    header, *rows = read_table(path)
    places = [header.index(column) for column in columns if column in header]
    for row in rows:
        for place in places:
            row[place] = str(int(row[place]) + by) if row[place] else ""
    write_table(path, [header, *rows])


def _set(path: Path, column: str, value: str) -> None:
    header, *rows = read_table(path)
    rows[len(rows) // 2][header.index(column)] = value
    write_table(path, [header, *rows])


def _exchange_rows(rows: list[list[str]]) -> None:
    rows[9], rows[10] = rows[10], rows[9]


def _drop_column(path: Path, column: str) -> None:
    header, *rows = read_table(path)
    place = header.index(column)
    write_table(path, [row[:place] + row[place + 1 :] for row in (header, *rows)])


def _exchange(copy: Path, name: str) -> None:
    (copy / "a" / name).rename(copy / "kept")
    (copy / "b" / name).rename(copy / "a" / name)
    (copy / "kept").rename(copy / "b" / name)


def _exchange_poses(copy: Path) -> None:
    """Exchange two poses in the table of poses and in both of DeepLabCut's, so that all agree."""
    folder = copy / "a"
    header, *rows = read_table(folder / "poses.csv")
    first = next(place for place, name in enumerate(header) if name.endswith("_x"))
    one, two = rows[0], rows[-1]
    one[first:], two[first:] = two[first:], one[first:]
    write_table(folder / "poses.csv", [header, *rows])
    frames = pd.read_csv(folder / "frames.csv")
    places = [int(frames.loc[frames["seq"] == int(row[0]), "video_frame"].iloc[0]) for row in (one, two)]
    [text] = folder.glob("video*.csv")
    lines = read_table(text)
    a, b = lines[3 + places[0]], lines[3 + places[1]]
    a[1:], b[1:] = b[1:], a[1:]
    write_table(text, lines)
    [h5] = folder.glob("*.h5")
    edit_h5(h5, lambda values: _exchange_values(values, *places))


def _exchange_values(values: NDArray[np.float64], one: int, two: int) -> None:
    values[[one, two]] = values[[two, one]]


# DeepLabCut's files.


def of_deeplabcut(session: Path) -> Iterator[Manipulation]:
    """Give changes of DeepLabCut's files."""
    [h5] = (session / "a").glob("*.h5")
    text, meta = f"{h5.stem}.csv", f"{h5.stem}_meta.pickle"

    def on(name: str, change: Change) -> Manipulation:
        return Manipulation(f"DeepLabCut: {name}", "DeepLabCut's files", change)

    def one_value(values: NDArray[np.float64]) -> None:
        row, column = np.argwhere(np.isfinite(values))[4]
        values[row, column] += 0.01

    def cell(copy: Path) -> None:
        lines = read_table(copy / "a" / text)
        row = next(row for row in lines[3:] if row[1])
        row[1] = str(float(row[1]) + 0.01)
        write_table(copy / "a" / text, lines)

    def scorer(copy: Path) -> None:
        path = copy / "a" / text
        path.write_text(path.read_text().replace("openfield", "openfeild"))

    def renamed_part(copy: Path) -> None:
        lines = read_table(copy / "a" / text)
        lines[1] = [cell.replace("leftear", "rightear") for cell in lines[1]]
        write_table(copy / "a" / text, lines)

    yield on("one value of the h5", lambda copy: edit_h5(copy / "a" / h5.name, one_value))
    yield on("one value of the csv", cell)
    yield on("the scorer in the csv", scorer)
    yield on("a body part renamed in the csv", renamed_part)
    yield on("the last row of the csv gone", lambda copy: change_rows(copy / "a" / text, lambda rows: rows.pop()))
    yield on("a byte of the h5", lambda copy: flip_byte(copy / "a" / h5.name))
    yield on("a byte of the meta", lambda copy: flip_byte(copy / "a" / meta))
    yield on("the meta is of the other camera", lambda copy: put_in_place(copy / "b" / meta, copy / "a" / meta))


def edit_h5(path: Path, change: Callable[[NDArray[np.float64]], None]) -> None:
    """Change the values of a pandas table in an HDF5 file."""
    with tables.open_file(str(path), "r+") as file:
        for node in file.walk_nodes("/", "Leaf"):
            if isinstance(node, tables.Table):
                rows = node.read()
                change(rows["values_block_0"])
                node[:] = rows
                return
            if node.name == "block0_values":
                values = node.read()
                change(values)
                node[:] = values
                return
    raise ValueError(f"{path} has no table of values")
