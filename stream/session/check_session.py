"""Holds what a session says of itself against its tables: cameras, summary, events, times, skipped frames.

Nothing here needs the manifest: these checks find what was changed by someone who renewed it, too.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from msgspec import UNSET
from msgspec.structs import replace

from posestream.stream.disk.notes import Note
from posestream.stream.disk.tables import FrameState
from posestream.stream.session.check_times import Clocks, check_batches, check_frame_times, check_pose_times, clocks_of
from posestream.stream.session.closing import read_camera
from posestream.stream.session.events import EVENTS, LoggedEvent, read_events
from posestream.stream.session.reader import read_summary
from posestream.stream.session.session_record import BackfillRecord, SessionRecord, known
from posestream.stream.session.summary import summarize_camera
from posestream.stream.session.summary_record import CameraSummary, SummaryRecord
from posestream.stream.session.table_reader import UNREADABLE
from posestream.stream.session.tables import noted, read_frames, read_poses, read_skipped, read_truth
from posestream.stream.session.video_times import TOLERANCE_US
from posestream.stream.wire.counters import CameraCounters
from posestream.stream.wire.messages import END, FOUND, RECONNECTED

__all__ = ["check_session"]

RECORDING = ("frames.csv", "video.mp4", "video.mkv")
FILES = (*RECORDING, "poses.csv", "skipped.csv", "backfilled.csv")
COUNTED_ELSEWHERE = ("frames", "pose_states", "files", "counters", "window")
"""Parts of a camera's summary that `verify` compares by itself, or that only its process knew."""
TOLD_LOSSES = (FrameState.LOST_CAMERA, FrameState.LOST_QUEUE)
"""States of frames that a camera's events tell of, which bear the state's name."""


def check_session(folder: Path, session: SessionRecord) -> Iterator[str]:
    """Check a session that is closed; gives what does not agree, a sentence each.

    Parameters
    ----------
    folder
        The session folder.
    session
        Its record.
    """
    yield from _cameras(folder, session)
    clocks = clocks_of(session)
    if clocks is None and _strict(session):
        yield "session.json: it has no clock anchors"
    summary = SummaryRecord()
    if session.state != "recording":
        try:
            read = read_summary(folder)
            if read is not None:
                yield from _summary(session, read)
                summary = read
            else:
                yield "summary.json is missing"
        except UNREADABLE as error:
            yield f"summary.json can't be read: {error}"
    yield from _events(folder, session, summary)
    poses: list[pd.DataFrame] = []
    for name in session.cameras:
        try:
            texts = list(_camera(folder / name, name, session, clocks, summary, poses))
        except UNREADABLE as error:
            texts = [f"{type(error).__name__}: {error}"]
        yield from (f"camera {name}: {text}" for text in texts)
    yield from check_batches(poses)


def _strict(session: SessionRecord) -> bool:
    """Whether a posestream wrote it that says as much as this one."""
    return bool(known(session.manifest, 0))


def _cameras(folder: Path, session: SessionRecord) -> Iterator[str]:
    """Cameras are those of the rig, and what lies in the folder is of them."""
    cameras, rig = session.cameras, session.rig.cameras
    if cameras.keys() != rig.keys():
        odd = ", ".join(sorted(cameras.keys() ^ rig.keys()))
        yield f"session.json: its cameras and those of its rig differ: {odd}"
    places = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    for place in places:
        there = [name for name in FILES if (place / name).exists()]
        if place.name not in cameras:
            if there:
                yield f"{place.name}/ holds a camera's files ({', '.join(there)}), and session.json has no such camera"
            continue
        details, remote = cameras[place.name], rig[place.name].remote
        recorded = [name for name in there if name in RECORDING]
        if remote and recorded:
            yield f"camera {place.name}: session.json says that it is on another machine, and {recorded[0]} is here"
        unnamed = [name for name in recorded if name.startswith("video") and name != details.video]
        if unnamed and not remote:
            yield f"camera {place.name}: {unnamed[0]} is here, and session.json does not name it"
        if session.inference is None and "poses.csv" in there:
            yield f"camera {place.name}: poses.csv is here, and session.json says that no network ran"


def _summary(session: SessionRecord, summary: SummaryRecord) -> Iterator[str]:
    """`session.json` and `summary.json` say the same of how the run ended."""
    if summary.session != session.id:
        yield "summary.json is of another session"
    cameras, rig = summary.cameras, session.rig.cameras
    if cameras.keys() != session.cameras.keys():
        odd = ", ".join(sorted(cameras.keys() ^ session.cameras.keys()))
        yield f"summary.json and session.json name different cameras: {odd}"
    for name, camera in cameras.items():
        if (camera.remote is not UNSET) != (name in rig and rig[name].remote):
            yield f"camera {name}: summary.json and session.json disagree about the machine it is on"
    if summary.ended != known(session.ended, None):
        yield "summary.json and session.json disagree about how the run ended"
    if lacking := [text for text in known(session.problems, []) if text not in summary.problems]:
        yield f"summary.json lacks a problem that session.json has: {lacking[0]}"
    if summary.problems and summary.exit_status == 0:
        yield "summary.json has problems and says exit status 0"
    done, later = session.backfill, summary.backfill
    if isinstance(done, BackfillRecord) and (
        not isinstance(later, BackfillRecord) or replace(later, problems=UNSET) != replace(done, problems=UNSET)
    ):
        yield "summary.json and session.json disagree about the backfill"


def _events(folder: Path, session: SessionRecord, summary: SummaryRecord) -> Iterator[str]:
    """Events are those of the session, as many as the summary counts, and tell of what the tables say."""
    if not (folder / EVENTS).exists() and (_strict(session) or session.state == "complete"):
        yield f"{EVENTS} is missing"
        return
    try:
        events = read_events(folder) if (folder / EVENTS).exists() else []
    except UNREADABLE as error:
        yield f"{EVENTS} can't be read: {error}"
        return
    if strangers := sum(event.session != session.id for event in events):
        yield f"{EVENTS}: {strangers} events are of another session"
    counts = Counter(event.name for event in events)
    said = known(summary.events, None)
    for name in sorted(counts.keys() | said.keys()) if said is not None else ():
        if said is not None and counts[name] != said.get(name, 0):
            yield f"summary.json says {said.get(name, 0)} events {name}, {EVENTS} has {counts[name]}"
    for name in session.cameras:
        try:
            own = [event for event in events if event.source == name]
            counters = known(summary.cameras.get(name, CameraSummary()).counters, None)
            clean = session.state == "complete" and not summary.problems
            texts = list(_camera_events(folder / name, own, counters, clean=clean))
        except UNREADABLE as error:
            texts = [f"{EVENTS}: {type(error).__name__}: {error}"]
        yield from (f"camera {name}: {text}" for text in texts)


def _camera_events(
    folder: Path, events: list[LoggedEvent], counters: CameraCounters | None, *, clean: bool
) -> Iterator[str]:
    if not (folder / "frames.csv").exists():
        return
    frames = read_frames(folder)
    captured, states = int(frames["seq"].notna().sum()), frames["state"].value_counts()
    ends = [event.number("frames") for event in events if event.name == END]
    if clean and len(ends) != 1:
        yield f"{EVENTS} says {len(ends)} times that it ended"
    if ends and (ends[-1] > captured or (clean and ends[-1] != captured)):
        yield f"{EVENTS} says that it gave {ends[-1]:g} frames, frames.csv has {captured}"
    if not ends or (counters is not None and counters.events_dropped):
        return  # a process that was killed did not tell all
    for state in TOLD_LOSSES:
        told = sum(event.number("count") for event in events if event.name == state)
        if state is FrameState.LOST_CAMERA:
            told -= sum(event.name == FOUND for event in events)
        found = int(states.get(state.value, 0))
        if told != found if clean else told < found:  # what went wrong may have changed what had been told
            yield f"{EVENTS} tells of {told:g} frames {state}, frames.csv has {found}"
    reconnected = int(noted(frames, Note.RECONNECTED).sum())
    told = sum(event.name == RECONNECTED for event in events)
    if told != reconnected:
        yield f"{EVENTS} says {told} times that it was connected again, frames.csv {reconnected} times"


def _camera(
    folder: Path,
    name: str,
    session: SessionRecord,
    clocks: Clocks | None,
    summary: SummaryRecord,
    poses: list[pd.DataFrame],
) -> Iterator[str]:
    """Check the tables of one camera; its poses are added to `poses`."""
    table, inference = session.rig.cameras[name], session.rig.inference
    remote, video = table.remote, session.cameras[name].video
    if not remote:
        frames = read_frames(folder)
        tolerance_us = TOLERANCE_US[Path(video).suffix] if video else 1
        yield from check_frame_times(frames, clocks, tolerance_us, played=table.backend == "file")
        yield from _truth(folder, frames)
    if inference is not None and session.inference is not None and (not remote or (folder / "poses.csv").exists()):
        poses.append(read_poses(folder))
        yield from check_pose_times(poses[-1], clocks, local_camera=not remote, local_inference=not inference.remote)
        yield from _skipped(read_skipped(folder))
    said = summary.cameras.get(name)
    if not remote and said is not None and _strict(session):
        yield from _camera_summary(folder, session, name, said)


def _truth(folder: Path, frames: pd.DataFrame) -> Iterator[str]:
    truth = read_truth(folder)
    if truth is not None:
        seq, delivered = truth["seq"].to_numpy(np.int64), frames["seq"].dropna().to_numpy(np.int64)
        if (np.diff(seq) <= 0).any() or not np.isin(seq, delivered).all():
            yield "truth.csv: its frames are not those of frames.csv, in order"


def _skipped(skipped: pd.DataFrame) -> Iterator[str]:
    if skipped[["first_seq", "last_seq", "count"]].isna().any(axis=None) or (skipped["cause"].fillna("") == "").any():
        yield "skipped.csv has empty cells"
        return
    wrong = int((skipped["count"] != skipped["last_seq"] - skipped["first_seq"] + 1).sum())
    if wrong:
        yield f"skipped.csv: count of {wrong} rows is not that of the frames from first_seq to last_seq"


def _camera_summary(folder: Path, session: SessionRecord, name: str, said: CameraSummary) -> Iterator[str]:
    """Sum the tables up anew, and see that the summary says the same."""
    details, counters = session.cameras[name], known(said.counters, None)
    tables = read_camera(folder, inferred=session.inference is not None)
    found = summarize_camera(folder, details.stream, details.video, tables, counters)
    one, other = msgspec.to_builtins(said), msgspec.to_builtins(found)
    for key in other:
        if key not in COUNTED_ELSEWHERE and not _same(one.get(key), other[key]):
            yield f"summary.json says {key} {_short(one.get(key))}, the tables say {_short(other[key])}"
    if counters is not None:
        written = {"captured": (counters.captured, known(found.frames, {})["captured"])}
        if tables.poses is not None:
            written["poses_recorded"] = (known(counters.poses_recorded, 0), len(tables.poses))
        for key, (counted, there) in written.items():
            if counted > there:  # a process that was killed wrote more than it told
                yield f"its process counted {counted} {key}, the tables have {there}"
    without = len(tables.without_pose) if details.video else 0
    if without and isinstance(session.backfill, BackfillRecord) and session.backfill.state == "complete":
        yield f"session.json says that the backfill is complete, and {without} frames have no pose"


def _same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) or isinstance(other, float):
        if not (isinstance(one, int | float) and isinstance(other, int | float)):
            return False
        return math.isclose(one, other, rel_tol=1e-6, abs_tol=2e-3)
    return bool(one == other)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
