"""Closes what a crash left open: tables, DeepLabCut's files, and the session's last word."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from posestream.stream.deeplabcut_files import Analysis, write_deeplabcut_files
from posestream.stream.reconcile import reconcile_camera
from posestream.stream.session import write_json
from posestream.stream.tables import read_frames, read_poses, recorded_poses
from posestream.stream.verify import load_session
from posestream.stream.wire.messages import StreamInfo

__all__ = ["StillRunningError", "recover_session"]

QUIET_S = 5.0
"""Seconds without a change after which nobody is thought to write to the session any more."""


class StillRunningError(Exception):
    """A session that somebody may still be writing to; the text is for people."""


def recover_session(folder: Path) -> list[str]:
    """Recover a session; does nothing to one that was closed.

    Parameters
    ----------
    folder
        The session folder.

    Returns
    -------
    list of str
        What was done, a sentence each.

    Raises
    ------
    NoSessionError
        Where the folder is no session.
    StillRunningError
        Where a file was changed a moment ago.
    OSError
        Where the folder can't be written to.
    """
    session = load_session(folder)
    if session["state"] != "recording":
        return []
    newest = max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())
    if time.time() - newest < QUIET_S:
        raise StillRunningError(
            f"{folder} was written to {time.time() - newest:.0f} s ago; wait until the run has ended"
        )
    done: list[str] = []
    for name, details in session["cameras"].items():
        if (folder / name).is_dir():
            done += [f"camera {name}: {text}" for text in _recover_camera(folder / name, details, session)]
    write_json(folder / "session.json", session | {"state": "recovered", "recovery": done})
    return done


def _recover_camera(folder: Path, details: dict[str, Any], session: dict[str, Any]) -> list[str]:
    video, inference = details.get("video"), session["inference"]
    done = reconcile_camera(folder, video, inferred=inference is not None)
    tables = (folder / "frames.csv", folder / "poses.csv")
    if inference is not None and video is not None and all(table.exists() for table in tables):
        info = StreamInfo(**details["stream"])
        frames = read_frames(folder)
        write_deeplabcut_files(
            folder / video,
            inference["model"],
            recorded_poses(frames, read_poses(folder)),
            _analysis(frames, info, session),
        )
        done.append("DeepLabCut's files were written")
    return done


def _analysis(frames: pd.DataFrame, info: StreamInfo, session: dict[str, Any]) -> Analysis:
    walls = frames["wall_ns"].dropna().to_numpy(np.float64) / 1e9
    return Analysis(
        start_s=float(walls[0]) if len(walls) else 0.0,
        stop_s=float(walls[-1]) if len(walls) else 0.0,
        rate_hz=info.rate_hz or 0.0,
        height=info.height,
        width=info.width,
        batch_size=int(session["rig"]["inference"]["batch_size"]),
    )
