"""Proves or refutes that a session is what it says: every frame accounted for, in the video and in the tables.

Nothing is believed that can be counted: the video is decoded, and the tables are held against it, against the
camera's own numbers, and against each other.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import pandas as pd
from msgspec import UNSET
from numpy.typing import NDArray

from posestream.inference.formats.hdf_tables import HdfTableError, read_hdf_table
from posestream.stream.disk.frame_merge import PACKETS
from posestream.stream.disk.notes import DEVICE_ID_NOTES, Note
from posestream.stream.disk.tables import BACKFILLED_COLUMNS, FrameState, PoseState
from posestream.stream.disk.writer_locks import writers
from posestream.stream.session.check_manifest import CHECKSUM, check_manifest
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
    noted,
    read_backfilled,
    read_frames,
    read_poses,
    read_skipped,
    recorded_poses,
    skipped_frames,
)
from posestream.stream.session.video_times import TOLERANCE_US, DecodedVideo, decode_video
from posestream.stream.wire.counters import CameraCounters
from posestream.stream.wire.details import ModelDetails

__all__ = ["CameraFindings", "Findings", "verify_session"]

CameraFindings = dict[str, int | LostFrames]
"""How many rows of `frames.csv` are in each state, how many frames were `decoded`, how many live `poses` and
`backfilled` ones there are, and what is `lost`; empty where a table can't be read."""

GUESSED = (Note.FROM_POSES, Note.FROM_COUNTER)
"""Notes of frames that are known by their numbers alone."""
Indices = NDArray[np.int64]


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
        problems += _frame_rows(frames, known(said.counters, None) if said is not None else None)
        if (folder / PACKETS).exists():
            problems.append(f"{PACKETS} was never merged into frames.csv")
        counts: CameraFindings = {str(state): int(n) for state, n in frames["state"].value_counts().items()}
        recorded = frames[frames["state"] == FrameState.RECORDED.value]
        if video is not None and (len(recorded) or (folder / video).exists()):
            decoded = decode_video(folder / video)
            counts["decoded"] = len(decoded.times_us)
            problems += [decoded.problem] if decoded.problem else []
            problems += _video_rows(recorded, decoded, TOLERANCE_US[Path(video).suffix])
        poses = backfilled = None
        if inference is not None:
            poses, backfilled = read_poses(folder), read_backfilled(folder)
            counts["poses"] = len(poses)
            problems += _pose_rows(frames, poses, read_skipped(folder))
            if backfilled is not None:
                counts["backfilled"] = len(backfilled)
                problems += _backfilled_rows(recorded, backfilled)
            if video is not None and len(recorded):
                stem = f"{Path(video).stem}{inference.model.scorer}"
                expected = recorded_poses(frames, poses, backfilled)
                problems += _deeplabcut_files(folder / stem, inference.model, expected)
        if COLUMN in frames:
            problems += _pose_states(frames, poses, backfilled)
        if said is not None:
            problems += _summary(frames, said)
        counts["lost"] = lost_frames(frames)
    except TableError as error:
        return [*problems, str(error)], {}, True
    except UNREADABLE as error:
        return [*problems, f"{type(error).__name__}: {error}"], {}, True
    return problems, counts, CHECKSUM in frames or video is None


def _frame_rows(frames: pd.DataFrame, counters: CameraCounters | None) -> Iterator[str]:
    """Every frame that the device numbered has one row, in order, and it is known what became of it."""
    seq = frames["seq"].dropna().to_numpy(np.int64)
    if not np.array_equal(seq, np.arange(len(seq))):
        yield "frames.csv: the numbers of the delivered frames are not 0, 1, 2 ..."
    if (captured := counters.captured if counters is not None else 0) > len(seq):
        yield f"frames.csv: {captured - len(seq)} of the {captured} frames that were delivered have no row"
    if unknown := int((frames["state"] == FrameState.DELIVERED.value).sum()):
        yield f"frames.csv: {unknown} frames were delivered, and nothing says what became of them"
    yield from _device_ids(frames)
    delivered = frames.dropna(subset=["captured_ns", "arrived_ns"])
    early = delivered["arrived_ns"] < delivered["captured_ns"]
    if early.any():
        yield f"frames.csv: {int(early.sum())} frames were there before they were captured"
    states = set(frames["state"].dropna()) - {state.value for state in FrameState}
    if states or frames["state"].isna().any():
        yield f"frames.csv: unknown states {sorted(states)}"


def _device_ids(frames: pd.DataFrame) -> Iterator[str]:
    """From row to row the device's number goes up by one; where it does not, a note says why."""
    frames = frames.iloc[_in_order(frames)]
    odd = noted(frames, *DEVICE_ID_NOTES)
    guess = frames["state"].eq(FrameState.INTERRUPTED.value).fillna(False).to_numpy(bool) & noted(frames, *GUESSED)
    numbered = frames["device_id"].notna().to_numpy()
    ids, rows = frames["device_id"].dropna().to_numpy(np.int64), np.flatnonzero(numbered)
    odd, guess = odd[numbered], guess[numbered]
    # A frame without a number of its own stands for the next in order
    jumps = np.flatnonzero((np.diff(ids) != np.diff(rows)) & ~odd[1:] & ~guess[1:] & ~guess[:-1])
    if len(jumps):
        yield f"frames.csv: device ids jump after {ids[jumps[0]]} without a row for what is missing"


def _in_order(frames: pd.DataFrame) -> Indices:
    """Rows in the order of the device's numbers: late frames where they were missing, without those that came twice."""
    late, twice = noted(frames, Note.ID_CAME_LATE), noted(frames, Note.ID_REPEATS)
    if not late.any():
        return np.flatnonzero(~twice)
    begins = noted(frames, Note.IDS_BEGAN_ANEW, Note.ID_JUMPED)
    ids = frames["device_id"].to_numpy(np.float64, na_value=np.nan)
    order = np.arange(len(ids), dtype=np.float64)
    kept = ~twice
    for row in np.flatnonzero(late).tolist():
        overtaker = _overtaker(row, ids, late | twice, begins)
        kept[row] = overtaker is not None
        order[row] = row if overtaker is None else overtaker - 0.5
    rows = np.lexsort((ids, order))
    return np.asarray(rows[kept[rows]], np.int64)


def _overtaker(row: int, ids: NDArray[np.float64], passed: NDArray[np.bool_], begins: NDArray[np.bool_]) -> int | None:
    """Row of the first frame that overtook a late one.

    None where nothing stands for its number otherwise: before the first frame nothing is missing, and older sessions
    have a row `lost-camera` beside that of a late frame.
    """
    first = row
    for place in range(row - 1, -1, -1):
        if not passed[place] and ids[place] <= ids[row]:
            return first if ids[place] < ids[row] else None
        if begins[place]:
            return None
        if not passed[place] and ids[place] > ids[row]:
            first = place
    return None


def _video_rows(recorded: pd.DataFrame, decoded: DecodedVideo, tolerance_us: int) -> Iterator[str]:
    """Frames in the file are the rows marked recorded, at the times and with the contents that the rows say."""
    times_us = decoded.times_us
    if len(times_us) != len(recorded):
        yield f"the video has {len(times_us)} frames, frames.csv says {len(recorded)}"
    if recorded[["seq", "video_frame", "pts_us"]].isna().any(axis=None):
        yield "frames.csv: rows marked recorded lack their number, place or time"
        return
    index = recorded["video_frame"].to_numpy(np.int64)
    if not np.array_equal(index, np.arange(len(index))):
        yield "frames.csv: places in the video are not 0, 1, 2 ..."
    both = min(len(times_us), len(recorded))
    said_us = recorded["pts_us"].to_numpy(np.int64)
    off = np.abs(times_us[:both] - said_us[:both]) > tolerance_us
    if off.any():
        yield f"the times of {int(off.sum())} frames differ from frames.csv, first of frame {int(np.argmax(off))}"
    # Recordings from before times rose by the container's tick may have two of one tick
    same = np.diff(said_us[:both]) <= 2 * tolerance_us if tolerance_us > 1 else np.zeros(max(both - 1, 0), bool)
    steps = np.diff(times_us[:both])
    if (steps < 0).any() or ((steps == 0) & ~same).any() or (np.diff(said_us) <= 0).any():
        yield "times in the video do not rise"
    if CHECKSUM in recorded:
        wrong = recorded[CHECKSUM].fillna("").to_numpy(object)[:both] != [f"{one:08x}" for one in decoded.crc32[:both]]
        if wrong.any():
            first = int(wrong.argmax())
            yield f"{int(wrong.sum())} frames of the video are not those that were recorded, first frame {first}"


def _pose_rows(frames: pd.DataFrame, poses: pd.DataFrame, skipped: pd.DataFrame) -> Iterator[str]:
    """Each delivered frame has one pose or one skip record."""
    posed = poses["frame_seq"].to_numpy(np.int64)
    if (np.diff(posed) <= 0).any():
        yield "poses.csv: frames are not in order, or have two poses"
    delivered = frames["seq"].dropna().to_numpy(np.int64)
    fates, counts = np.unique(np.concatenate([posed, skipped_frames(skipped)]), return_counts=True)
    if (counts > 1).any():
        yield f"{int((counts > 1).sum())} frames have both a pose and a skip record, or two skip records"
    strangers, silent = np.setdiff1d(fates, delivered), np.setdiff1d(delivered, fates)
    if len(strangers):
        yield f"{len(strangers)} poses or skipped frames belong to no frame in frames.csv"
    if len(silent):
        yield f"{len(silent)} frames have neither a pose nor a skip record, first of them frame {silent[0]}"
    both = poses.merge(frames, left_on="frame_seq", right_on="seq", suffixes=("", "_frame"))
    for column in ("device_id", "captured_ns"):
        pair = both[[column, f"{column}_frame"]].dropna()
        if others := int((pair[column] != pair[f"{column}_frame"]).sum()):
            yield f"poses.csv: {others} poses have another {column} than their frame"


def _backfilled_rows(recorded: pd.DataFrame, backfilled: pd.DataFrame) -> Iterator[str]:
    """Backfilled poses are of frames in the video, one of each at most."""
    if backfilled["frame_seq"].duplicated().any():
        yield "backfilled.csv: frames have two poses"
    places = backfilled.merge(recorded, left_on="frame_seq", right_on="seq", how="left", suffixes=("", "_frame"))
    if others := int((places["video_frame"] != places["video_frame_frame"]).fillna(True).sum()):
        yield f"backfilled.csv: {others} poses are not of the frame of the video that they name"
    if backfilled.drop(columns=list(BACKFILLED_COLUMNS)).isna().any(axis=None):
        yield "backfilled.csv: poses have empty cells"


def _pose_states(frames: pd.DataFrame, poses: pd.DataFrame | None, backfilled: pd.DataFrame | None) -> Iterator[str]:
    """`live` is one live pose and no other, `backfilled` one backfilled pose and no other, `none` neither."""
    if missing := int(frames[COLUMN].isna().sum()):
        yield f"frames.csv: {missing} frames have no pose state"
    if unknown := set(frames[COLUMN].dropna()) - {state.value for state in PoseState}:
        yield f"frames.csv: unknown pose states {sorted(unknown)}"
    live, later = (_number_of(frames["seq"], table) for table in (poses, backfilled))
    for state, numbers in {PoseState.LIVE: (1, 0), PoseState.BACKFILLED: (0, 1), PoseState.NONE: (0, 0)}.items():
        rows = (frames[COLUMN] == state.value).fillna(False).to_numpy(bool)
        wrong = np.flatnonzero(rows & ((live != numbers[0]) | (later != numbers[1])))
        if len(wrong):
            first = wrong[0] + 1
            yield f"frames.csv: {len(wrong)} rows say {state.value}, against the tables of poses; first row {first}"


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


def _number_of(seq: "pd.Series[int]", table: pd.DataFrame | None) -> Indices:
    """How many poses a table has of each frame."""
    if table is None:
        return np.zeros(len(seq), np.int64)
    return np.asarray(seq.map(table["frame_seq"].value_counts()).fillna(0), np.int64)


def _deeplabcut_files(stem: Path, model: ModelDetails, expected: NDArray[np.float64]) -> Iterator[str]:
    """DeepLabCut's tables say what the tables of poses say. None of these files is unpickled."""
    h5, text, meta = (stem.with_name(stem.name + ending) for ending in (".h5", ".csv", "_meta.pickle"))
    parts = [(part, value) for part in model.bodyparts for value in ("x", "y", "likelihood")]
    for path in (h5, text, meta):
        if not path.exists():
            yield f"{path.name} is missing"
        elif path == text:
            values = pd.read_csv(path, skiprows=3, header=None, index_col=0).to_numpy()
            yield from _same(path, values, expected)
        elif path == h5:
            try:
                table = read_hdf_table(path)
            except HdfTableError as error:
                yield str(error).removesuffix(".")
                continue
            if [column[1:] for column in table.columns] != parts:
                yield f"{path.name} has other columns than the session's network"
            yield from _same(path, table.values, expected)


def _same(path: Path, values: NDArray[np.float64], expected: NDArray[np.float64]) -> Iterator[str]:
    # Text may come back with another last bit.
    if values.shape != expected.shape or not np.allclose(values, expected, rtol=1e-12, atol=0, equal_nan=True):
        yield f"{path.name} differs from the tables of poses"
