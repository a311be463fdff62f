"""Proves or refutes that a session is what it says: every frame accounted for, in the video and in the tables.

Nothing is believed that can be counted: the video is decoded, and the tables are held against it, against the
camera's own numbers, and against each other.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import pandas as pd
from msgspec import UNSET

from posestream.stream.disk.frame_merge import PACKETS
from posestream.stream.disk.tables import FrameState
from posestream.stream.disk.writer_locks import writers
from posestream.stream.session.check_frames import check_frame_rows, check_video_rows
from posestream.stream.session.check_manifest import CHECKSUM, check_manifest
from posestream.stream.session.check_poses import (
    check_backfilled_rows,
    check_deeplabcut_files,
    check_pose_rows,
    check_pose_states,
)
from posestream.stream.session.check_session import check_session
from posestream.stream.session.lost import LostFrames, lost_frames
from posestream.stream.session.manifest import Show
from posestream.stream.session.pose_states import COLUMN
from posestream.stream.session.reader import SummaryError, load_session, read_summary
from posestream.stream.session.reconcile import cut_tables
from posestream.stream.session.session_record import SessionRecord, known
from posestream.stream.session.summary_record import CameraSummary, SummaryRecord
from posestream.stream.session.table_checks import check_camera
from posestream.stream.session.table_reader import UNREADABLE, TableError
from posestream.stream.session.tables import (
    read_backfilled,
    read_frames,
    read_poses,
    read_skipped,
    recorded_poses,
)
from posestream.stream.session.video_times import TOLERANCE_US, decode_video

__all__ = ["CameraFindings", "Findings", "verify_session"]

CameraFindings = dict[str, int | LostFrames]
"""How many rows of `frames.csv` are in each state, how many frames were `decoded`, how many live `poses` and
`backfilled` ones there are, and what is `lost`; empty where a table can't be read."""


class Findings(TypedDict):
    """What was found, as `posestream verify --json` prints it."""

    session: str
    """Its id."""
    state: str
    """Its state."""
    proved: bool
    """Whether every frame is accounted for and every file is as the run left it."""
    problems: list[str]
    """A sentence each."""
    not_provable: list[str]
    """A sentence for each thing that nothing shows, as where a session has no manifest."""
    cameras: dict[str, CameraFindings]
    """Of each camera whose files are here."""


def verify_session(folder: Path, show: Show | None = None) -> Findings:
    """Verify a session.

    Parameters
    ----------
    folder
        The session folder.
    show
        Called as its files are read for the manifest.

    Returns
    -------
    Findings
        As JSON has them.

    Raises
    ------
    NoSessionError
        Where the folder is no session.
    """
    session = load_session(folder)
    try:
        alive = writers(folder)
    except OSError as error:
        alive, not_provable = [], [f"nobody can tell whether the session is still being recorded: {error}"]
    else:
        not_provable = []
    if alive:
        problem = f"the session is being recorded or changed by {', '.join(alive)}; verify it when that has ended"
        return _result(session, [problem], [], {})
    problems, unproved = check_manifest(folder, session, show)
    not_provable += unproved
    if session.state == "recording":
        problems.append(f"the session was never closed; run: posestream recover {folder}")
    if session.backfill_was_cut_off:
        problems.append(f"a backfill runs or was cut off; it goes on with: posestream backfill {folder}")
    problems += [f"{log.name} was cut short in its last line" for log in cut_tables(folder)]
    problems += check_session(folder, session)
    cameras: dict[str, CameraFindings] = {}
    summary, unreadable = _read_summary(folder)
    for name in session.cameras:
        if session.rig.cameras[name].remote:
            not_provable.append(f"camera {name}: its frames and video are on another machine")
            continue
        found, cameras[name], provable = _verify_camera(folder / name, session, summary.cameras.get(name))
        if unreadable or (summary.session is not UNSET and name not in summary.cameras):
            found.append(f"summary.json can't be read: {unreadable or f'it says nothing of camera {name}'}")
        problems += [f"camera {name}: {problem}" for problem in found]
        if not provable:
            not_provable.append(
                f"camera {name}: it was recorded without checksums; nothing shows what the video showed"
            )
    return _result(session, problems, not_provable, cameras)


def _result(
    session: SessionRecord, problems: list[str], not_provable: list[str], cameras: dict[str, CameraFindings]
) -> Findings:
    return {
        "session": session.id,
        "state": session.state,
        "proved": not problems and not not_provable,
        "problems": list(dict.fromkeys(problems)),
        "not_provable": not_provable,
        "cameras": cameras,
    }


def _read_summary(folder: Path) -> tuple[SummaryRecord, str]:
    """Read `summary.json`, and why it can't be read; without one, the run was cut off before it was written."""
    try:
        return read_summary(folder) or SummaryRecord(), ""
    except SummaryError as error:
        return SummaryRecord(), f"{type(error).__name__}: {error}"


def _verify_camera(
    folder: Path, session: SessionRecord, said: CameraSummary | None
) -> tuple[list[str], CameraFindings, bool]:
    """Verify a camera's folder; gives what is wrong, counts, and whether anything shows what the video showed."""
    video, inference = session.cameras[folder.name].video, session.inference
    problems = [f"{table.name} was cut short in its last line" for table in cut_tables(folder)]
    try:
        check_camera(folder, session.bodyparts)
        frames = read_frames(folder)
        problems += check_frame_rows(frames, known(said.counters, None) if said is not None else None)
        if (folder / PACKETS).exists():
            problems.append(f"{PACKETS} was never merged into frames.csv")
        counts: CameraFindings = {str(state): int(n) for state, n in frames["state"].value_counts().items()}
        recorded = frames[frames["state"] == FrameState.RECORDED.value]
        if video is not None and (len(recorded) or (folder / video).exists()):
            decoded = decode_video(folder / video)
            counts["decoded"] = len(decoded.times_us)
            problems += [decoded.problem] if decoded.problem else []
            problems += check_video_rows(recorded, decoded, TOLERANCE_US[Path(video).suffix])
        poses = backfilled = None
        if inference is not None:
            poses, backfilled = read_poses(folder), read_backfilled(folder)
            counts["poses"] = len(poses)
            problems += check_pose_rows(frames, poses, read_skipped(folder))
            if backfilled is not None:
                counts["backfilled"] = len(backfilled)
                problems += check_backfilled_rows(recorded, backfilled)
            if video is not None and len(recorded):
                stem = f"{Path(video).stem}{inference.model.scorer}"
                expected = recorded_poses(frames, poses, backfilled)
                problems += check_deeplabcut_files(folder / stem, inference.model, expected)
        if COLUMN in frames:
            problems += check_pose_states(frames, poses, backfilled)
        if said is not None:
            problems += _summary(frames, said)
        counts["lost"] = lost_frames(frames)
    except TableError as error:
        return [*problems, str(error)], {}, True
    except UNREADABLE as error:
        return [*problems, f"{type(error).__name__}: {error}"], {}, True
    return problems, counts, CHECKSUM in frames or video is None


def _summary(frames: pd.DataFrame, said: CameraSummary) -> Iterator[str]:
    """See that the summary counts what is in the table."""
    found = {"captured": int(frames["seq"].notna().sum())} | frames["state"].value_counts().to_dict()
    for state, number in known(said.frames, {}).items():
        if number != found.get(state, 0):
            yield f"summary.json says {number} frames {state}, frames.csv says {found.get(state, 0)}"
    poses = frames[COLUMN].value_counts().to_dict() if COLUMN in frames else {}
    for state, number in known(said.pose_states, {}).items() if poses else ():
        if number != poses.get(state, 0):
            yield f"summary.json says {number} frames with pose {state}, frames.csv says {poses.get(state, 0)}"
