"""Closes what a crash left open: tables, DeepLabCut's files, and the session's last word."""

import time
from pathlib import Path
from typing import Any

from posestream.stream.closing import close_camera, read_camera
from posestream.stream.lock import session_lock
from posestream.stream.reconcile import reconcile_camera
from posestream.stream.session import write_json
from posestream.stream.verify import backfill_was_cut_off, load_session
from posestream.stream.wire.messages import StreamInfo

__all__ = ["StillRunningError", "recover_session"]

QUIET_S = 5.0
"""Seconds without a change after which nobody is thought to write to the session any more."""


class StillRunningError(Exception):
    """A session that somebody may still be writing to; the text is for people."""


def recover_session(folder: Path) -> list[str]:
    """Recover a session, or what a backfill left open in it; does nothing to one that was closed.

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
    InUseError
        Where another process changes the session.
    OSError
        Where the folder can't be written to.
    """
    session = load_session(folder)
    if session["state"] != "recording" and not backfill_was_cut_off(session):
        return []
    if session["state"] == "recording":
        newest = max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())
        if time.time() - newest < QUIET_S:
            raise StillRunningError(
                f"{folder} was written to {time.time() - newest:.0f} s ago; wait until the run has ended"
            )
    with session_lock(folder):
        done: list[str] = []
        for name, details in session["cameras"].items():
            if (folder / name).is_dir():
                done += [f"camera {name}: {text}" for text in _recover_camera(folder / name, details, session)]
        if session["state"] == "recording":
            session |= {"state": "recovered"}
        if backfill_was_cut_off(session):
            session["backfill"] |= {"state": "partial"}
            done.append("a backfill that was cut off was closed; posestream backfill goes on with it")
        write_json(folder / "session.json", session | {"recovery": done})
    return done


def _recover_camera(folder: Path, details: dict[str, Any], session: dict[str, Any]) -> list[str]:
    video, inference = details.get("video"), session["inference"]
    model = inference["model"] if inference is not None else None
    done = reconcile_camera(folder, video, bodyparts=model["bodyparts"] if model is not None else None)
    tables = read_camera(folder, inferred=model is not None)
    info = StreamInfo(**details["stream"])
    batch_size = int(session["rig"]["inference"]["batch_size"]) if inference is not None else 1
    if close_camera(folder, tables, video=video, model=model, info=info, batch_size=batch_size):
        done.append("DeepLabCut's files were written")
    return done
