"""Judges a session by the log of its cameras and by the numbers in its pictures; shares no code with posestream.

What is read here of a session is what its pages promise to any reader: CSV, JSON, and a video.
"""

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.error
from numbered_camera import TICK_NS, read_picture

__all__ = [
    "Log",
    "Picture",
    "Truth",
    "counts_add_up",
    "judge_camera",
    "lost_as_said",
    "read_json",
    "read_log",
    "read_rows",
    "read_video",
]

DELIVERED = "delivered"
"""State of a row whose frame's fate is open; none may be left in a closed session."""

GAP_S = 0.1
"""Seconds by which a gap may be told otherwise, as the camera's and the host's clocks are mapped to each other."""


@dataclass(frozen=True)
class Delivery:
    """A frame that the camera delivered."""

    number: int
    device_id: int | None
    captured_ns: int
    device_time: int | None

    @property
    def time_ns(self) -> int:
        """When it was exposed, or else arrived."""
        return self.captured_ns if self.device_time is None else self.device_time * TICK_NS


@dataclass
class Log:
    """What the camera numbered and delivered."""

    numbered: int = 0
    """Frames that it numbered: 0 up to this."""
    delivered: list[Delivery] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A frame of the video."""

    number: int | None
    """None: it can't be read."""
    camera: int | None
    time_us: float


@dataclass
class Truth:
    """What is true of a camera, and what the session says against it."""

    delivered: int = 0
    rows: int = 0
    """Rows of frames that were delivered."""
    recorded: int = 0
    pictures: int = 0
    lost: int = 0
    """Delivered frames that are not in the video."""
    dropped: int = 0
    """Frames that the device numbered and did not deliver."""
    gap_s: float = 0.0
    """Seconds between two frames of the video, or its ends, where it lacks most in between."""
    unnumbered: int = 0
    """Numbers before the last one delivered that have no row."""
    states: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)
    """Kind and text of each."""


def read_log(path: Path) -> Log:
    """Read the log of a camera."""
    log = Log()
    if not path.exists():
        return log
    for line in path.read_text().splitlines():
        kind, *cells = line.split()
        values = [None if cell == "None" else int(cell) for cell in cells]
        if kind == "N":
            log.numbered = int(cells[0]) + 1
        else:
            log.delivered.append(Delivery(*values))  # type: ignore[arg-type]
    return log


def read_video(path: Path) -> list[Picture]:
    """Decode a video as far as it goes, and read what is painted into its frames."""
    pictures: list[Picture] = []
    if not path.exists():
        return pictures
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                number, camera = read_picture(frame.to_ndarray(format="gray")) or (None, None)
                assert frame.pts is not None
                assert stream.time_base is not None
                pictures.append(Picture(number, camera, float(frame.pts * stream.time_base * 1_000_000)))
    except (av.error.FFmpegError, IndexError):
        pass  # the end that a kill left, which no row may point at
    return pictures


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read whole lines of a table."""
    if not path.exists():
        return []
    text = path.read_bytes().decode()
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def judge_camera(
    folder: Path, log: Log, camera: int, *, in_flight: int = 0, rising: bool = True, clock_back: bool = False
) -> Truth:
    """Hold a camera's folder against its log.

    Parameters
    ----------
    folder
        The camera's folder in a session that was closed, by its run or by `recover`.
    log
        What the camera numbered and delivered.
    camera
        Its number in the pictures.
    in_flight
        Delivered frames at the log's end that may have no row: 1 where the camera's process was killed.
    rising
        Whether `captured_ns` must not go back.
    clock_back
        Whether the plug-in's clock was set back, so that what it said of the time can't stand in the table.
    """
    rows = read_rows(folder / "frames.csv")
    videos = [path for path in sorted(folder.glob("video.m*")) if path.suffix in {".mp4", ".mkv"}]
    pictures = read_video(videos[0]) if videos else []
    delivered_rows = [row for row in rows if row["seq"]]
    truth = Truth(delivered=len(log.delivered), rows=len(delivered_rows), pictures=len(pictures))
    truth.states = Counter(row["state"] for row in rows)
    truth.recorded = truth.states["recorded"]
    truth.faults += _rows(delivered_rows, log, in_flight)
    truth.faults += _pictures(
        delivered_rows, pictures, log, camera, 1_000 if videos and videos[0].suffix == ".mkv" else 1
    )
    truth.faults += _lost_by_camera(rows, log, truth)
    if not clock_back:
        truth.faults += _times(delivered_rows, log)
    if rising:
        captured = [int(row["captured_ns"]) for row in delivered_rows if row["captured_ns"]]
        if back := sum(after < before for before, after in itertools.pairwise(captured)):
            truth.faults.append(("times", f"captured_ns goes back {back} times"))
    _lost(truth, log, pictures)
    return truth


def _rows(rows: list[dict[str, str]], log: Log, in_flight: int) -> Iterator[tuple[str, str]]:
    """Each delivered frame has one row, with its number."""
    if [row["seq"] for row in rows] != [str(seq) for seq in range(len(rows))]:
        yield "rows", "the numbers of the rows are not 0, 1, 2 ..."
    missing = len(log.delivered) - len(rows)
    if missing > in_flight:
        yield "no row", f"{missing} of {len(log.delivered)} delivered frames have no row"
    if missing < 0:
        yield "rows", f"{-missing} rows are of frames that were never delivered"
    wrong = 0
    for row, delivery in zip(rows, log.delivered, strict=False):
        said = int(row["device_id"]) if row["device_id"] else None
        wrong += said != delivery.device_id
    if wrong:
        yield "wrong row", f"{wrong} rows have another device id than their frame"
    if left := sum(row["state"] == DELIVERED for row in rows):
        yield "state", f"{left} rows of a closed session say {DELIVERED}"


def _pictures(
    rows: list[dict[str, str]], pictures: list[Picture], log: Log, camera: int, tolerance_us: int
) -> Iterator[tuple[str, str]]:
    """Each row marked recorded points at its own picture, each picture has one such row, no other row has one."""
    claimed: Counter[int] = Counter()
    absent = wrong = late = 0
    for row, delivery in zip(rows, log.delivered, strict=False):
        if row["state"] != "recorded":
            continue
        place = int(row["video_frame"]) if row["video_frame"] else -1
        if not 0 <= place < len(pictures):
            absent += 1
            continue
        claimed[place] += 1
        picture = pictures[place]
        wrong += (picture.number, picture.camera) != (delivery.number, camera)
        late += not row["pts_us"] or abs(picture.time_us - int(row["pts_us"])) > tolerance_us
    if absent:
        yield "state", f"{absent} rows say recorded and point at no picture"
    if wrong:
        yield "wrong row", f"{wrong} rows point at another frame's picture"
    if late:
        yield "wrong row", f"{late} rows have another time than their picture"
    if twice := sum(count > 1 for count in claimed.values()):
        yield "wrong row", f"{twice} pictures belong to several rows"
    if unclaimed := len(pictures) - len(claimed):
        yield "state", f"{unclaimed} pictures are in the video without a row that says so"
    if unread := sum(picture.number is None for picture in pictures):
        yield "wrong row", f"{unread} pictures can't be read"


def _lost_by_camera(rows: list[dict[str, str]], log: Log, truth: Truth) -> Iterator[tuple[str, str]]:
    """Numbers that were never delivered have a row that says so, and no other has."""
    known = {delivery.device_id for delivery in log.delivered if delivery.device_id is not None}
    if not known:
        return
    missing = set(range(min(known), max(known))) - known
    said = Counter(int(row["device_id"]) for row in rows if row["state"] == "lost-camera")
    lies = sum(count for number, count in said.items() if number in known)
    if lies:
        yield "state", f"{lies} rows say lost-camera of a frame that was delivered"
    if any(count > 1 for count in said.values()):
        yield "rows", "a frame that the device lost has several rows"
    # What was lost right before the frame in flight is known with that frame alone.
    last = max((delivery.device_id or 0 for delivery in log.delivered[: truth.rows]), default=0)
    truth.unnumbered = sum(number not in said for number in missing if number < last)
    if truth.unnumbered:
        yield "no row", f"{truth.unnumbered} numbers that were never delivered have no row"
    if strange := set(said) - missing - known:
        yield "rows", f"{len(strange)} rows say lost-camera of numbers that the device did not lose"


def _times(rows: list[dict[str, str]], log: Log) -> Iterator[tuple[str, str]]:
    """Rows have the times that the camera gave."""
    pairs = list(zip(rows, log.delivered, strict=False))
    if wrong := sum(int(row["arrived_ns"] or -1) != delivery.captured_ns for row, delivery in pairs):
        yield "wrong row", f"{wrong} rows have another arrival than their frame"
    ticks = [(row["device_time"], delivery.device_time) for row, delivery in pairs]
    if wrong := sum(said != ("" if true is None else str(true)) for said, true in ticks):
        yield "wrong row", f"{wrong} rows have another device time than their frame"


def _lost(truth: Truth, log: Log, pictures: list[Picture]) -> None:
    """Count what was numbered and is not in the video, in frames and seconds, as far as there are rows."""
    seen = {picture.number for picture in pictures}
    known = log.delivered[: truth.rows]
    if not known:
        return
    numbers = {delivery.number for delivery in known}
    truth.dropped = max(numbers) - min(numbers) + 1 - len(numbers)
    truth.lost = sum(delivery.number not in seen for delivery in known)
    marks = [place for place, delivery in enumerate(known) if delivery.number in seen or place in {0, len(known) - 1}]
    for before, after in itertools.pairwise(marks):
        inside = [delivery.number in seen for delivery in known[before : after + 1]]
        if not all(inside) or known[after].number - known[before].number > 1 + after - before:
            truth.gap_s = max(truth.gap_s, (known[after].time_ns - known[before].time_ns) / 1e9)


def counts_add_up(summary: dict[str, Any], camera: str, truth: Truth) -> Iterator[tuple[str, str]]:
    """See that the summary counts by cause what the rows say."""
    said = dict(summary.get("cameras", {}).get(camera, {}).get("frames", {}))
    captured = said.pop("captured", None)
    if captured != truth.rows:
        yield "counts", f"summary.json says {captured} frames captured, there are {truth.rows} rows"
    for state in {*said, *truth.states}:
        if (said.get(state) or 0) != truth.states[state]:
            yield "counts", f"summary.json says {said.get(state)} frames {state}, there are {truth.states[state]} rows"


def lost_as_said(said: dict[str, Any], camera: str, truth: Truth) -> Iterator[tuple[str, str]]:
    """See that `verify` says how much was lost; a version that says nothing of it is not held to it."""
    found = said.get("cameras", {}).get(camera, {}).get("lost")
    if not isinstance(found, dict):
        return
    if found["frames"] != truth.lost + truth.dropped:
        yield "loss", f"verify says that {found['frames']} frames were lost, it were {truth.lost + truth.dropped}"
    if abs(found["longest_gap_s"] - truth.gap_s) > GAP_S:
        yield "loss", f"verify says that the longest gap has {found['longest_gap_s']} s, it has {truth.gap_s:.3f} s"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty where there is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
