"""What can be done to a closed session: each manipulation with its name, its kind, and what does it.

A manipulation is a function that changes a fresh copy of a session of the cameras `a` and `b`. `harmless` ones change
nothing of what was recorded, and must not be held against a session.
"""

import contextlib
import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import tables
from numpy.typing import NDArray

__all__ = ["Manipulation", "manipulations"]

Change = Callable[[Path], None]
HOUR_NS = 3_600_000_000_000


@dataclass(frozen=True)
class Manipulation:
    """What is done to a session."""

    name: str
    kind: str
    """What it is done to: a video, a table, DeepLabCut's files, what the run says of itself, or files as such."""
    change: Change
    harmless: bool = False


def manipulations(session: Path, other: Path) -> list[Manipulation]:
    """Give all manipulations of a session; `other` is another session, with the same cameras."""
    made = [
        *_of_videos(session, other),
        *_of_cells(session),
        *_of_tables(),
        *_of_deeplabcut(session),
        *_of_records(),
        *_of_files(session),
    ]
    assert len({one.name for one in made}) == len(made), "two manipulations of one name"
    return made


# Videos.


def _of_videos(session: Path, other: Path) -> Iterator[Manipulation]:
    def on(name: str, change: Callable[[Path], None], camera: str = "a") -> Manipulation:
        return Manipulation(f"video: {name}", "video", lambda copy: change(copy / camera / "video.mp4"))

    yield on("all frames black", partial(_reencode, picture=np.zeros_like))
    yield on("frames in reverse order", partial(_reencode, order=lambda number: list(range(number))[::-1]))
    yield on("two frames swapped", partial(_reencode, order=lambda number: _swapped(number, 10, 30)))
    yield on("one frame is a copy of the one before", partial(_reencode, order=_stuck))
    yield on("the same frames at lower quality", partial(_reencode, crf="40"))
    yield on("the same frames at higher quality", partial(_reencode, crf="5"))
    yield on("mirrored", partial(_reencode, picture=lambda grey: np.ascontiguousarray(grey[:, ::-1])))
    yield on("a corner painted over", partial(_reencode, picture=_painted))
    yield on("the last second cut off", _cut)
    yield on("one packet replaced by the next", partial(_replace_packet, by_next=True))
    yield on("one bit of a packet's middle flipped", partial(_replace_packet, by_next=False))
    yield on("one frame's time moved by 1 ms", _move_time)
    yield on("a byte in the middle of the file changed", _flip_byte)
    yield on("a byte appended", _append_byte)
    yield on("of another session", lambda video: _into(other / "a" / "video.mp4", video))
    yield on("a link to another session's", lambda video: _link(other / "a" / "video.mp4", video))
    yield on("a link to the same video elsewhere", lambda video: _link_same(session / "a" / "video.mp4", video))

    def exchange(copy: Path) -> None:
        (copy / "a" / "video.mp4").rename(copy / "kept")
        (copy / "b" / "video.mp4").rename(copy / "a" / "video.mp4")
        (copy / "kept").rename(copy / "b" / "video.mp4")

    yield Manipulation("video: those of two cameras exchanged", "video", exchange)


def _reencode(
    video: Path,
    picture: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda grey: grey,
    order: Callable[[int], list[int]] = lambda number: list(range(number)),
    crf: str = "18",
) -> None:
    """Encode the frames anew, at the same times."""
    with av.open(str(video)) as old:
        base = old.streams.video[0].time_base
        frames = [(frame.pts, frame.to_ndarray(format="gray")) for frame in old.decode(video=0)]
    video.unlink()
    with av.open(str(video), "w") as new:
        stream = new.add_stream("libx264", rate=30, options={"crf": crf, "preset": "ultrafast", "bf": "0"})
        stream.height, stream.width = frames[0][1].shape
        stream.pix_fmt, stream.codec_context.color_range = "gray", 2
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1_000_000)
        for (pts, _), source in zip(frames, order(len(frames)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture(frames[source][1]), format="gray")
            frame.pts, frame.time_base = round(pts * base * 1_000_000), Fraction(1, 1_000_000)
            new.mux(stream.encode(frame))
        new.mux(stream.encode())


def _swapped(number: int, one: int, two: int) -> list[int]:
    order = list(range(number))
    order[one], order[two] = two, one
    return order


def _stuck(number: int) -> list[int]:
    order = list(range(number))
    order[20] = 19
    return order


def _painted(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = grey.copy()
    grey[:40, :40] = 255
    return grey


def _remux(video: Path, change: Callable[[int, Any], Any]) -> None:
    """Write the packets as they are into a new file, each as `change(place, packet)` gives it; None leaves it out."""
    kept = video.with_name("kept.mp4")
    with av.open(str(video)) as old, av.open(str(kept), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        for place, _packet in enumerate(packets):
            if (changed := change(place, packets)) is not None:
                changed.stream = stream
                new.mux(changed)
    kept.replace(video)


def _copied(packet: Any, data: bytes | None = None) -> Any:
    copy = av.Packet(bytes(packet) if data is None else data)
    copy.pts, copy.dts, copy.time_base, copy.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    copy.is_keyframe = packet.is_keyframe
    return copy


def _cut(video: Path) -> None:
    def until_last_second(place: int, packets: list[Any]) -> Any:
        last = packets[-1]
        return _copied(packets[place]) if packets[place].pts < last.pts - 1 / last.time_base else None

    _remux(video, until_last_second)


def _replace_packet(video: Path, by_next: bool) -> None:
    def change(place: int, packets: list[Any]) -> Any:
        packet = packets[place]
        if place != 12:
            return _copied(packet)
        data = bytearray(bytes(packets[place + 1] if by_next else packet))
        if not by_next:
            data[len(data) // 2] ^= 1
        return _copied(packet, bytes(data))

    _remux(video, change)


def _move_time(video: Path) -> None:
    def change(place: int, packets: list[Any]) -> Any:
        copy = _copied(packets[place])
        if place == 12:
            copy.pts = copy.dts = copy.pts + round(Fraction(1, 1000) / copy.time_base)
        return copy

    _remux(video, change)


def _flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def _append_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _into(source: Path, target: Path) -> None:
    target.unlink()
    shutil.copyfile(source, target)


def _link(source: Path, target: Path) -> None:
    target.unlink()
    target.symlink_to(source)


def _link_same(source: Path, target: Path) -> None:
    outside = target.parents[2] / "outside.mp4"  # beside the copy of the session
    shutil.copyfile(source, outside)
    _link(outside, target)


# Cells of tables: each column of each, one cell and all.


def _of_cells(session: Path) -> Iterator[Manipulation]:
    for path in sorted((session / "a").glob("*.csv")):
        if path.name.startswith("video"):
            continue
        header, *_ = read_table(path)
        for column in header[: _columns(path.name, header)]:
            for every in (False, True):
                name = f"{path.name}: {'every' if every else 'one'} {column}"
                change = partial(edit_column, table=path.name, column=column, every=every)
                yield Manipulation(name, "a column of a table", lambda copy, change=change: change(copy / "a"))


def _columns(table: str, header: list[str]) -> int:
    """How many columns are edited: of keypoints those of the first body part."""
    firsts = [place for place, name in enumerate(header) if name.endswith("_likelihood")]
    return firsts[0] + 1 if firsts else len(header) if table != "truth.csv" else 3


def read_table(path: Path) -> list[list[str]]:
    """Read a table, its header first."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def write_table(path: Path, rows: list[list[str]]) -> None:
    """Write a table."""
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


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


def _of_tables() -> Iterator[Manipulation]:
    def on(name: str, change: Change) -> Manipulation:
        return Manipulation(f"tables: {name}", "tables together", change)

    def hour(copy: Path, anchors: bool) -> None:
        times = ("captured_ns", "arrived_ns", "wall_ns", "sent_ns", "received_ns", "batched_ns", "inferred_ns")
        times += ("published_ns", "subscribed_ns")
        for table in ("frames.csv", "poses.csv"):
            shift(copy / "a" / table, times, HOUR_NS)
        if anchors:
            edit_json(copy / "session.json", lambda session: [_hour(anchor) for anchor in session["clock_anchors"]])

    yield on("all times moved by an hour", partial(hour, anchors=False))
    yield on("all times and the anchors moved by an hour", partial(hour, anchors=True))
    yield on("wall times moved by an hour", lambda copy: shift(copy / "a" / "frames.csv", ("wall_ns",), HOUR_NS))
    yield on(
        "captured and arrived moved by 1 ms",
        lambda copy: [
            shift(copy / "a" / table, ("captured_ns", "arrived_ns"), 10**6) for table in ("frames.csv", "poses.csv")
        ],
    )
    yield on(
        "device ids moved by 5 in both",
        lambda copy: [shift(copy / "a" / table, ("device_id",), 5) for table in ("frames.csv", "poses.csv")],
    )
    yield on("inferred_ns of 5", lambda copy: _set(copy / "a" / "poses.csv", "inferred_ns", "5"))
    yield on("one skipped run counts 1000", lambda copy: _set(copy / "a" / "skipped.csv", "count", "1000"))
    yield on(
        "a row of frames.csv twice", lambda copy: _rows(copy / "a" / "frames.csv", lambda rows: rows.insert(9, rows[9]))
    )
    yield on("a row of frames.csv gone", lambda copy: _rows(copy / "a" / "frames.csv", lambda rows: rows.pop(9)))
    yield on("the last row of frames.csv gone", lambda copy: _rows(copy / "a" / "frames.csv", lambda rows: rows.pop()))
    yield on("two rows of frames.csv exchanged", lambda copy: _rows(copy / "a" / "frames.csv", _exchange_rows))
    yield on(
        "a row of poses.csv twice", lambda copy: _rows(copy / "a" / "poses.csv", lambda rows: rows.insert(2, rows[2]))
    )
    yield on("a row of poses.csv gone", lambda copy: _rows(copy / "a" / "poses.csv", lambda rows: rows.pop(2)))
    yield on("a row of skipped.csv gone", lambda copy: _rows(copy / "a" / "skipped.csv", lambda rows: rows.pop()))
    yield on("a column of frames.csv gone", lambda copy: _drop_column(copy / "a" / "frames.csv", "arrived_ns"))
    yield on("two poses exchanged everywhere", _exchange_poses)
    yield on("those of two cameras exchanged", partial(_exchange, name="frames.csv"))
    yield on("poses of two cameras exchanged", partial(_exchange, name="poses.csv"))


def _hour(anchor: dict[str, Any]) -> None:
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


def _rows(path: Path, change: Callable[[list[list[str]]], object]) -> None:
    header, *rows = read_table(path)
    change(rows)
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
    one, two = rows[1], rows[-1]
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


def _of_deeplabcut(session: Path) -> Iterator[Manipulation]:
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
    yield on("the last row of the csv gone", lambda copy: _rows(copy / "a" / text, lambda rows: rows.pop()))
    yield on("a byte of the h5", lambda copy: _flip_byte(copy / "a" / h5.name))
    yield on("a byte of the meta", lambda copy: _flip_byte(copy / "a" / meta))
    yield on("the meta is of the other camera", lambda copy: _into(copy / "b" / meta, copy / "a" / meta))


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


# What the run says of itself.


def _of_records() -> Iterator[Manipulation]:
    def on(file: str, name: str, change: Callable[[Any], object]) -> Manipulation:
        return Manipulation(f"{file}: {name}", "records of the run", lambda copy: edit_json(copy / file, change))

    session, summary = "session.json", "summary.json"
    yield on(session, "a camera removed", lambda said: (said["cameras"].pop("a"), said["rig"]["cameras"].pop("a")))
    yield on(session, "a camera called remote", lambda said: said["rig"]["cameras"]["a"].update(remote=True))
    yield on(session, "another id", lambda said: said.update(id="0" * 32))
    yield on(session, "recovered, not complete", lambda said: said.update(state="recovered"))
    yield on(session, "still recording", lambda said: said.update(state="recording"))
    yield on(session, "another rate in the rig", lambda said: said["rig"]["cameras"]["a"].update(rate_hz=77.0))
    yield on(session, "another quality in the rig", lambda said: said["rig"]["recording"].update(crf=5.0))
    yield on(session, "another version of posestream", lambda said: said["versions"].update(posestream="9.9"))
    yield on(session, "another machine", lambda said: said["machine"].update(name="another"))
    yield on(session, "an anchor moved by a second", _anchor)
    yield on(session, "another width of a stream", lambda said: said["cameras"]["a"]["stream"].update(width=320))
    yield on(session, "no inference", lambda said: said.update(inference=None))
    yield on(session, "another stride of the network", lambda said: said["inference"]["model"].update(stride=16))
    yield on(session, "another video", lambda said: said["cameras"]["a"].update(video="video.mkv"))
    yield on(summary, "one frame more recorded", lambda said: _more(said["cameras"]["a"]["frames"], "recorded"))
    yield on(summary, "one frame more captured", lambda said: _more(said["cameras"]["a"]["frames"], "captured"))
    yield on(summary, "one live pose more", lambda said: _more(said["cameras"]["a"]["pose_states"], "live"))
    yield on(summary, "a camera removed", lambda said: said["cameras"].pop("a"))
    yield on(summary, "another measured rate", lambda said: said["cameras"]["a"]["rate_hz"].update(measured=99.0))
    yield on(summary, "a problem added", lambda said: said["problems"].append("something"))
    yield on(summary, "another exit status", lambda said: said.update(exit_status=1 - said["exit_status"]))
    yield Manipulation("two files: a camera renamed everywhere", "records of the run", _rename_camera)
    log = "events.jsonl"
    yield Manipulation(
        f"{log}: one line gone", "records of the run", lambda copy: _lines(copy / log, lambda it: it.pop())
    )
    yield Manipulation(f"{log}: in another order", "records of the run", lambda copy: _lines(copy / log, list.reverse))
    yield Manipulation(f"{log}: one line twice", "records of the run", lambda copy: _lines(copy / log, _again))
    yield Manipulation(f"{log}: another text", "records of the run", partial(_reworded, log=log))
    yield Manipulation(f"{log}: emptied", "records of the run", lambda copy: (copy / log).write_bytes(b""))


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    """Change a JSON file."""
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said, indent=2) + "\n")


def _anchor(said: dict[str, Any]) -> None:
    said["clock_anchors"][-1]["wall_ns"] += 10**9


def _more(counts: dict[str, int], key: str) -> None:
    counts[key] += 1


def _rename_camera(copy: Path) -> None:
    (copy / "a").rename(copy / "c")
    for name in ("session.json", "summary.json"):
        path = copy / name
        path.write_text(path.read_text().replace('"a"', '"c"').replace('"a/', '"c/'))


def _lines(path: Path, change: Callable[[list[bytes]], object]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def _again(lines: list[bytes]) -> None:
    lines.append(lines[0])


def _reworded(copy: Path, log: str) -> None:
    path = copy / log
    path.write_text(path.read_text().replace("ended", "went on", 1))


# Files as such.


def _of_files(session: Path) -> Iterator[Manipulation]:
    files = sorted(path.relative_to(session) for path in session.rglob("*") if path.is_file())
    files = [path for path in files if path.parts[0] != "b" and "manifest" not in path.name]
    for path in files:
        yield Manipulation(f"{path} deleted", "files", lambda copy, path=path: (copy / path).unlink())
        if (session / path).stat().st_size:
            cut = partial(_truncate, path=path)
            yield Manipulation(f"{path} cut to its first half", "files", cut)
    yield Manipulation("a file added", "files", lambda copy: (copy / "notes.txt").write_text("a note"))
    yield Manipulation("a video added", "files", lambda copy: shutil.copy(copy / "a/video.mp4", copy / "a/video.mkv"))
    yield Manipulation("a camera's folder deleted", "files", lambda copy: shutil.rmtree(copy / "a"))
    yield Manipulation("a camera's folder added", "files", lambda copy: shutil.copytree(copy / "a", copy / "c"))
    yield Manipulation("cameras' folders exchanged", "files", _exchange_folders)
    yield Manipulation("touched", "harmless", _touch, harmless=True)
    yield Manipulation("times of files in the future", "harmless", partial(_touch, by_s=86_400 * 400), harmless=True)
    yield Manipulation("copied, and nothing else", "harmless", lambda _copy: None, harmless=True)
    yield Manipulation("read-only", "harmless", _read_only, harmless=True)


def _truncate(copy: Path, path: Path) -> None:
    os.truncate(copy / path, (copy / path).stat().st_size // 2)


def _exchange_folders(copy: Path) -> None:
    (copy / "a").rename(copy / "c")
    (copy / "b").rename(copy / "a")
    (copy / "c").rename(copy / "b")


def _touch(copy: Path, by_s: float = 0.0) -> None:
    for path in copy.rglob("*"):
        status = path.stat()
        os.utime(path, (status.st_atime + by_s, status.st_mtime + by_s + 1))


def _read_only(copy: Path) -> None:
    for path in copy.rglob("*"):
        with contextlib.suppress(OSError):
            path.chmod(0o555 if path.is_dir() else 0o444)
