"""Closes what a crash left open: tables, DeepLabCut's files, the summary, and the session's last word."""

from pathlib import Path
from typing import Any

import msgspec

from posestream.stream.disk.lock import refuse_live, session_lock
from posestream.stream.disk.reserve import NAME as RESERVE
from posestream.stream.disk.writer_locks import SESSION, is_lock
from posestream.stream.session.closing import close_camera, read_camera
from posestream.stream.session.events import EVENTS, count_events
from posestream.stream.session.manifest import NAME, Renewal, Show, write_manifest
from posestream.stream.session.reader import SummaryError, backfill_was_cut_off, load_session, read_summary
from posestream.stream.session.reconcile import cut_to_whole_lines, left_open, reconcile_camera
from posestream.stream.session.record import remote_folder, write_json
from posestream.stream.session.results import losses
from posestream.stream.session.summary import summarize_camera
from posestream.stream.session.table_checks import check_tables
from posestream.stream.wire.messages import StreamInfo

__all__ = ["recover_session"]

CUT_OFF = "the run was cut off before it could close its files"


def recover_session(folder: Path, show: Show | None = None) -> list[str]:
    """Recover a session, or what a backfill left open in it; does nothing to one that was closed.

    `summary.json` then says what a run's own says, as far as the tables tell it; what only the processes knew is None.

    Parameters
    ----------
    folder
        The session folder.
    show
        Called as its files are read for the manifest.

    Returns
    -------
    list of str
        What was done, a sentence each.

    Raises
    ------
    NoSessionError
        Where the folder is no session.
    LiveSessionError
        Where a process of the run may still write to it; nothing was changed.
    InUseError
        Where another process changes it.
    TableError
        Where a table is none of a run's; nothing was changed.
    ManifestError
        Where its manifest can't be read.
    OSError
        Where the folder can't be written to.
    """
    session = load_session(folder)
    refuse_live(folder)
    if _is_closed(folder, session) and ("manifest" not in session or (folder / NAME).exists()):
        return _remove_reserves(folder)
    check_tables(folder, session)
    with session_lock(folder):
        session = load_session(folder)  # as whoever had it until now left it
        has_manifest = (folder / NAME).exists()
        renewal = Renewal(folder, "recover", show)
        done = list(renewal.problems)
        renewal.begin()
        if not _is_closed(folder, session):
            done = _close(folder, session, done)
        if has_manifest:
            renewal.finish(show)
        else:
            write_manifest(folder, session["id"], "recover", show)
        return [*done, f"{NAME} was {'renewed' if has_manifest else 'written'}"]


def _is_closed(folder: Path, session: dict[str, Any]) -> bool:
    open_ended = session["state"] == "recording" or backfill_was_cut_off(session)
    return not open_ended and not any(left_open(folder / name) for name in session["cameras"])


def _close(folder: Path, session: dict[str, Any], done: list[str]) -> list[str]:
    """Close what was left open; gives what was done until now, a sentence each."""
    before, cameras = _summary_before(folder), {}
    unmerged = any(left_open(folder / name) for name in session["cameras"])
    done = [*done, *_remove_leftovers(folder), *cut_to_whole_lines(folder)]
    if not (folder / EVENTS).exists():
        (folder / EVENTS).touch()
        done.append(f"{EVENTS} was missing and has been made")
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
        known = before.get("problems", [])
        problems = [*known, *(text for text in problems if unmerged and text not in known)]
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
    """Remove what a run that ends by itself does not leave: locks, space held back, files meant to replace others."""
    locks = [path for path in folder.glob("*.lock") if is_lock(path.name) and path.stem != SESSION]
    found = [path for pattern in (RESERVE, "*.tmp") for path in (*folder.glob(pattern), *folder.glob(f"*/{pattern}"))]
    for path in (*locks, *found):
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
    bodyparts, captured = model["bodyparts"] if model is not None else None, (counters or {}).get("captured", 0)
    wrong = reconcile_camera(folder, video, bodyparts=bodyparts, captured=captured)
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
    events = {"events": count_events(folder)}
    kept = {key: value for key, value in before.items() if key not in {"folder", "exit_status", "problems", "cameras"}}
    later = {"backfill": session["backfill"] | {"problems": []}} if "backfill" in session else {}
    return known | kept | later | events
