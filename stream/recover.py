"""Closes what a crash left open: tables, DeepLabCut's files, the summary, and the session's last word."""

import time
from pathlib import Path
from typing import Any

import msgspec

from posestream.stream.closing import close_camera, read_camera
from posestream.stream.lock import session_lock
from posestream.stream.reconcile import cut_to_whole_lines, reconcile_camera
from posestream.stream.results import losses
from posestream.stream.session import remote_folder, write_json
from posestream.stream.session_reader import SummaryError, backfill_was_cut_off, load_session, read_summary
from posestream.stream.session_tables import check_tables
from posestream.stream.summary import summarize_camera
from posestream.stream.wire.messages import StreamInfo
from posestream.stream.wire.reserve import NAME as RESERVE

__all__ = ["StillRunningError", "recover_session"]

QUIET_S = 5.0
"""Seconds without a change after which nobody is thought to write to the session any more."""

CUT_OFF = "the run was cut off before it could close its files"


class StillRunningError(Exception):
    """A session that somebody may still be writing to; the text is for people."""


def recover_session(folder: Path) -> list[str]:
    """Recover a session, or what a backfill left open in it; does nothing to one that was closed.

    `summary.json` then says what a run's own says, as far as the tables tell it; what only the processes knew is None.

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
    TableError
        Where a table is none of a run's; nothing was changed.
    OSError
        Where the folder can't be written to.
    """
    session = load_session(folder)
    if session["state"] != "recording" and not backfill_was_cut_off(session):
        return _remove_reserves(folder)
    check_tables(folder, session)
    if session["state"] == "recording":
        newest = max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())
        if time.time() - newest < QUIET_S:
            raise StillRunningError(
                f"{folder} was written to {time.time() - newest:.0f} s ago; wait until the run has ended"
            )
    with session_lock(folder):
        done, before, cameras = _remove_leftovers(folder), _summary_before(folder), {}
        done += cut_to_whole_lines(folder)
        problems = [CUT_OFF] if session["state"] == "recording" else []
        without_pose = 0
        for name, details in session["cameras"].items():
            counters = before.get("cameras", {}).get(name, {}).get("counters")
            if session["rig"]["cameras"][name]["remote"]:
                cameras[name] = {"remote": str(remote_folder(folder, name)), "counters": counters}
                continue
            (folder / name).mkdir(exist_ok=True)
            texts, cameras[name], missing = _recover_camera(folder / name, details, session, counters)
            problems += [f"camera {name}: {text}" for text in texts]
            without_pose += missing
        done += [text for text in problems if text != CUT_OFF]
        done += [f"{file} was written" for camera in cameras.values() for file in camera.get("files", [])]
        done.append("summary.json was written")
        if backfill_was_cut_off(session):
            session["backfill"] |= {"state": "partial", "without_pose": without_pose}
            done.append("a backfill that was cut off was closed; posestream backfill goes on with it")
        rig = session["rig"]["inference"]
        every_frame = rig is not None and rig.get("mode") == "every-frame"
        engine = (session["inference"] or {}).get("engine", "")
        problems += losses(cameras, every_frame=every_frame, engine=engine)
        if session["state"] == "recording":
            session |= {"state": "recovered", "ended": before.get("ended", "cut off"), "problems": problems}
        else:
            problems = before.get("problems", problems)
        write_json(folder / "summary.json", _summary(folder, session, before, cameras, problems))
        write_json(folder / "session.json", session | {"recovery": done})
    return done


def _remove_reserves(folder: Path) -> list[str]:
    """Remove the space that processes held that were killed in a run which closed its session all the same."""
    if not any((place / RESERVE).exists() for place in (folder, *folder.iterdir())):
        return []
    with session_lock(folder):
        return _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> list[str]:
    """Remove what a run that ends by itself does not leave: space held back, files that were to replace others."""
    found = [path for pattern in (RESERVE, "*.tmp") for path in (*folder.glob(pattern), *folder.glob(f"*/{pattern}"))]
    for path in found:
        path.unlink()
    return [f"{path.relative_to(folder).as_posix()}, a leftover, was removed" for path in sorted(found)]


def _summary_before(folder: Path) -> dict[str, Any]:
    """Read what a run, or a recovery before this one, still wrote of its summary."""
    try:
        return read_summary(folder)
    except SummaryError:
        return {}


def _recover_camera(
    folder: Path, details: dict[str, Any], session: dict[str, Any], counters: dict[str, Any] | None
) -> tuple[list[str], dict[str, Any], int]:
    """Recover a camera's folder; gives what was wrong, its part of the summary, and the frames without a pose."""
    video, inference = details.get("video"), session["inference"]
    model = inference["model"] if inference is not None else None
    wrong = reconcile_camera(folder, video, bodyparts=model["bodyparts"] if model is not None else None)
    tables = read_camera(folder, inferred=model is not None)
    info = msgspec.convert(details["stream"], StreamInfo)
    batch_size = int(session["rig"]["inference"]["batch_size"]) if inference is not None else 1
    summary = summarize_camera(folder, info, video, tables, counters or {})
    summary["files"] = close_camera(folder, tables, video=video, model=model, info=info, batch_size=batch_size)
    return wrong, summary | {"counters": counters}, len(tables.without_pose) if video is not None else 0


def _summary(
    folder: Path, session: dict[str, Any], before: dict[str, Any], cameras: dict[str, Any], problems: list[str]
) -> dict[str, Any]:
    known = {
        "session": session["id"],
        "folder": str(folder.absolute()),
        "ended": session.get("ended"),
        "seconds": None,
        "exit_status": 1 if problems else 0,
        "problems": problems,
        "cameras": cameras,
        "inference": None,
        "malformed": None,
        "refused": None,
    }
    kept = {key: value for key, value in before.items() if key not in {"folder", "exit_status", "problems", "cameras"}}
    later = {"backfill": session["backfill"] | {"problems": []}} if "backfill" in session else {}
    return known | kept | later
