"""What is written when a run has ended: DeepLabCut's files, the summary, and the session's last word."""

import errno
from pathlib import Path
from typing import Any

from posestream.stream.disk.reserve import remove_reserve
from posestream.stream.disk.tables import LOST_STATES
from posestream.stream.rig import Rig
from posestream.stream.session.closing import close_camera, read_camera
from posestream.stream.session.events import EVENTS, count_events
from posestream.stream.session.reconcile import left_open, reconcile_camera
from posestream.stream.session.record import Session, write_json
from posestream.stream.session.summary import summarize_camera
from posestream.stream.wire.messages import StreamInfo

__all__ = ["losses", "write_results"]

Values = dict[str, dict[str, Any]]


def write_results(
    session: Session,
    rig: Rig,
    *,
    streams: dict[str, StreamInfo],
    videos: dict[str, Any],
    inference: dict[str, Any] | None,
    values: dict[str, Values],
    problems: list[str],
    turned_away: dict[str, dict[str, int]],
    unclean: bool,
    ended: str,
    seconds: float,
) -> dict[str, Any]:
    """Write the results of a session and give its summary.

    Parameters
    ----------
    session
        The session.
    rig
        The rig as run.
    streams, videos
        By camera: what it published, and its video's file name (or none).
    inference
        What inference said when it was armed.
    values
        Last counters of each process.
    problems
        What went wrong, a sentence each; that the session's folder is gone, where it is, so that nothing is written.
    turned_away
        Malformed messages and refused connections, by role.
    unclean
        Whether a process failed, or ended without closing its files.
    ended
        Why the run ended.
    seconds
        Seconds from the start to here.
    """
    problems, unfinished, gone = list(problems), False, not session.folder.is_dir()
    cameras: dict[str, Any] = {}
    model = inference["model"] if inference is not None else None
    batch_size = rig.inference.batch_size if rig.inference is not None else 1
    for name, info in streams.items():
        if gone:
            break
        folder = session.camera_folder(name)
        if rig.cameras[name].remote:
            cameras[name] = {"remote": str(session.remote_folder(name))}
            cameras[name]["counters"] = values[f"camera:{name}"].get(name, {})
            continue
        try:
            remove_reserve(folder)  # a process that was killed left it
            # What was killed, or met a full disk, may have left a frame without its row, or without a word.
            counters = values[f"camera:{name}"].get(name, {})
            if unclean or left_open(folder):
                bodyparts, captured = model["bodyparts"] if model else None, counters.get("captured", 0)
                texts = reconcile_camera(folder, videos[name], bodyparts=bodyparts, captured=captured)
                problems += [f"camera {name}: {text}" for text in texts]
            tables = read_camera(folder, inferred=model is not None)
            cameras[name] = summarize_camera(folder, info, videos[name], tables, counters)
            cameras[name]["files"] = close_camera(
                folder, tables, video=videos[name], model=model, info=info, batch_size=batch_size
            )
        except (OSError, ValueError) as error:
            unfinished = True
            problems.append(f"camera {name}: results can't be written: {_reason(error)}")
            cameras.setdefault(name, {})
        cameras[name]["counters"] = values[f"camera:{name}"].get(name, {}) | values.get("poses", {}).get(name, {})
        followed = values.get("inference", {}).get(name, {})
        if window := {key.removeprefix("window_"): n for key, n in followed.items() if key.startswith("window_")}:
            cameras[name]["window"] = window
    events = _count_events(session.folder, problems)
    every_frame = rig.inference is not None and rig.inference.mode == "every-frame"
    problems += losses(cameras, every_frame=every_frame, engine=inference["engine"] if inference is not None else "")
    if unfinished:
        problems.append(f"the session is not complete; when that is mended: posestream recover {session.folder}")
    summary = {
        "session": session.id,
        "folder": str(session.folder),
        "ended": ended,
        "seconds": round(seconds, 3),
        "exit_status": 1 if problems else 0,
        "problems": problems,
        "cameras": cameras,
        "inference": values.get("inference", {}).get("") if inference is not None else None,
        "events": events,
        **turned_away,
    }
    if gone:
        return summary
    try:
        write_json(session.folder / "summary.json", summary)
        if not unfinished:
            session.end({"ended": ended, "problems": problems})
    except OSError as error:
        text = f"the summary can't be written: {_reason(error)}; then: posestream recover {session.folder}"
        problems.append(text)
        summary["exit_status"] = 1
    return summary


def _reason(error: Exception) -> str:
    """Say what a person can mend."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full; make room"
    return str(error)


def _count_events(folder: Path, problems: list[str]) -> dict[str, int]:
    """Count the events by name; says among the problems where they can't be read."""
    try:
        return count_events(folder) if folder.exists() else {}  # a folder that was deleted is named elsewhere
    except OSError as error:
        problems.append(f"{EVENTS} can't be read: {error.strerror}")
    except ValueError as error:
        problems.append(f"{EVENTS} can't be read: {error}")
    return {}


def losses(cameras: dict[str, Any], *, every_frame: bool, engine: str) -> list[str]:
    """Say what was lost against what was asked for: frames in any case, poses where every frame was to have one.

    Poses that the engine gave and that are none are a problem in any case.
    """
    texts = []
    for name, camera in cameras.items():
        frames, poses, counters = camera.get("frames", {}), camera.get("poses", {}), camera.get("counters") or {}
        for state in LOST_STATES:
            if frames.get(state):
                texts.append(f"camera {name}: {frames[state]} frames are not in the video ({state})")
        unwritten = counters.get("captured", 0) - frames.get("captured", 0)
        if frames and unwritten > 0:
            texts.append(f"camera {name}: {unwritten} frames were delivered and have no row in frames.csv")
        if every_frame and poses.get("skipped"):
            causes = ", ".join(f"{count} {cause}" for cause, count in poses["skipped"].items())
            texts.append(f"camera {name}: every frame was to get a live pose; skipped were {causes}")
        if invalid := poses.get("skipped", {}).get("invalid-pose"):
            texts.append(
                f'camera {name}: engine "{engine}" gave {invalid} poses that are not finite or whose likelihood is not '
                "within 0 to 1"
            )
        if poses.get("unexplained"):
            texts.append(f"camera {name}: {poses['unexplained']} frames have neither a pose nor a skip record")
        if counters.get("poses_lost"):
            texts.append(f"camera {name}: {counters['poses_lost']} poses did not reach the pose recorder")
    return texts
