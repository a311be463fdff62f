"""Proves or refutes that a session is what it says: every frame accounted for, in the video and in the tables.

Nothing is believed that can be counted: the video is decoded, and the tables are held against it, against the
camera's own numbers, and against each other.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from posestream.stream.tables import read_frames, read_poses, read_skipped, recorded_poses, skipped_frames
from posestream.stream.video_times import decoded_times_us
from posestream.stream.wire.tables import FrameState

__all__ = ["NoSessionError", "load_session", "verify_session"]

TOLERANCE_US = {".mp4": 1, ".mkv": 500}
"""Microseconds by which a container rounds times: Matroska counts milliseconds."""


class NoSessionError(Exception):
    """A folder that is no session; the text is for people."""


def load_session(folder: Path) -> dict[str, Any]:
    """Read `session.json`.

    Raises
    ------
    NoSessionError
        Where there is none, or it can't be read.
    """
    try:
        session: dict[str, Any] = json.loads((folder / "session.json").read_text(encoding="utf-8"))
        if session["format"] != 1 or not isinstance(session["cameras"], dict):
            raise ValueError(f"format {session['format']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoSessionError(f"{folder} is no session folder: session.json: {error}") from error
    return session


def verify_session(folder: Path) -> dict[str, Any]:
    """Verify a session.

    Parameters
    ----------
    folder
        The session folder.

    Returns
    -------
    dict
        JSON: `problems`, a sentence each (none where all is well), and counts by camera.

    Raises
    ------
    NoSessionError
        Where the folder is no session.
    """
    session = load_session(folder)
    problems: list[str] = []
    if session["state"] == "recording":
        problems.append(f"the session was never closed; run: posestream recover {folder}")
    cameras: dict[str, Any] = {}
    for name, details in session["cameras"].items():
        if session["rig"]["cameras"][name]["remote"]:
            continue
        found, cameras[name] = _verify_camera(folder / name, details.get("video"), session["inference"])
        problems += [f"camera {name}: {problem}" for problem in found]
    return {"session": session["id"], "state": session["state"], "problems": problems, "cameras": cameras}


def _verify_camera(
    folder: Path, video: str | None, inference: dict[str, Any] | None
) -> tuple[list[str], dict[str, Any]]:
    problems = [f"{table} was cut short in its last line" for table in _cut_tables(folder)]
    try:
        frames = read_frames(folder)
        problems += _frame_rows(frames)
        counts: dict[str, Any] = {str(state): int(n) for state, n in frames["state"].value_counts().items()}
        if video is not None:
            times, problem = decoded_times_us(folder / video)
            counts["decoded"] = len(times)
            problems += [problem] if problem else []
            problems += _video_rows(frames, times, TOLERANCE_US[Path(video).suffix])
        if inference is not None:
            poses = read_poses(folder)
            counts["poses"] = len(poses)
            problems += _pose_rows(frames, poses, read_skipped(folder))
            if video is not None:
                scorer = inference["model"]["scorer"]
                problems += _deeplabcut_rows(folder / f"{Path(video).stem}{scorer}.h5", recorded_poses(frames, poses))
    except (OSError, ValueError, KeyError) as error:
        return [*problems, f"{type(error).__name__}: {error}"], {}
    return problems, counts


def _cut_tables(folder: Path) -> Iterator[str]:
    for table in sorted(folder.glob("*.csv")):
        data = table.read_bytes()
        if data and not data.endswith(b"\n"):
            yield table.name


def _frame_rows(frames: pd.DataFrame) -> Iterator[str]:
    """Every frame that the device numbered has one row, in order."""
    seq = frames["seq"].dropna().to_numpy(np.int64)
    if not np.array_equal(seq, np.arange(len(seq))):
        yield "frames.csv: the numbers of the delivered frames are not 0, 1, 2 ..."
    odd = frames["note"].fillna("").str.contains("device id")
    ids = frames.loc[~odd, "device_id"].dropna().to_numpy(np.int64)
    jumps = np.flatnonzero(np.diff(ids) != 1)
    if len(jumps) > 2 * int(odd.sum()):
        yield f"frames.csv: device ids jump after {ids[jumps[0]]} without a row for what is missing"
    unknown = set(frames["state"].dropna()) - {state.value for state in FrameState}
    if unknown or frames["state"].isna().any():
        yield f"frames.csv: unknown states {sorted(unknown)}"


def _video_rows(
    frames: pd.DataFrame, times_us: "np.ndarray[Any, np.dtype[np.int64]]", tolerance_us: int
) -> Iterator[str]:
    """Frames in the file are the rows marked recorded, at the times that the rows say."""
    recorded = frames[frames["state"] == FrameState.RECORDED.value]
    if len(times_us) != len(recorded):
        yield f"the video has {len(times_us)} frames, frames.csv says {len(recorded)}"
    index = recorded["video_frame"].to_numpy(np.int64)
    if not np.array_equal(index, np.arange(len(index))):
        yield "frames.csv: places in the video are not 0, 1, 2 ..."
    both = min(len(times_us), len(recorded))
    off = np.abs(times_us[:both] - recorded["pts_us"].to_numpy(np.int64)[:both]) > tolerance_us
    if off.any():
        yield f"the times of {int(off.sum())} frames differ from frames.csv, first of frame {int(np.argmax(off))}"
    if (np.diff(times_us) <= 0).any():
        yield "times in the video do not rise"


def _pose_rows(frames: pd.DataFrame, poses: pd.DataFrame, skipped: pd.DataFrame) -> Iterator[str]:
    """Each delivered frame has one pose, or one word why not."""
    posed = poses["frame_seq"].to_numpy(np.int64)
    if (np.diff(posed) <= 0).any():
        yield "poses.csv: frames are not in order, or have two poses"
    delivered = frames["seq"].dropna().to_numpy(np.int64)
    fates, counts = np.unique(np.concatenate([posed, skipped_frames(skipped)]), return_counts=True)
    if (counts > 1).any():
        yield f"{int((counts > 1).sum())} frames have a pose and a word why not, or two words"
    strangers, silent = np.setdiff1d(fates, delivered), np.setdiff1d(delivered, fates)
    if len(strangers):
        yield f"{len(strangers)} poses or skipped frames belong to no frame in frames.csv"
    if len(silent):
        yield f"{len(silent)} frames have neither a pose nor a word why, first of them frame {silent[0]}"


def _deeplabcut_rows(path: Path, expected: "np.ndarray[Any, np.dtype[np.float64]]") -> Iterator[str]:
    """DeepLabCut's table says what `poses.csv` says."""
    if not path.exists():
        yield f"{path.name} is missing"
        return
    values = pd.read_hdf(path).to_numpy()
    if values.shape != expected.shape or not np.array_equal(values, expected, equal_nan=True):
        yield f"{path.name} differs from poses.csv"
