"""What is written when a run has ended: DeepLabCut's files, the summary, and the session's last word."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.stream.deeplabcut_files import Analysis, write_deeplabcut_files
from posestream.stream.reconcile import reconcile_camera
from posestream.stream.rig import Rig
from posestream.stream.session import Session, write_json
from posestream.stream.summary import summarize_camera
from posestream.stream.tables import read_frames, read_poses, recorded_poses
from posestream.stream.wire.messages import StreamInfo
from posestream.stream.wire.tables import LOST_STATES

__all__ = ["write_results"]

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
    started_ns: int,
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
        What went wrong, a sentence each.
    turned_away
        Malformed messages and refused connections, by role.
    unclean
        Whether a process failed, or ended without closing its files.
    ended
        Why the run ended.
    started_ns
        Wall clock at the start.
    seconds
        Seconds from the start to here.
    """
    problems = list(problems)
    cameras: dict[str, Any] = {}
    for name, info in streams.items():
        folder = session.camera_folder(name)
        if rig.cameras[name].remote:
            cameras[name] = {"remote": str(session.remote_folder(name))}
            cameras[name]["counters"] = values[f"camera:{name}"].get(name, {})
            continue
        try:
            if unclean:  # what was killed, or met a full disk, may have left a frame without its row, or without a word
                texts = reconcile_camera(folder, videos[name], inferred=inference is not None)
                problems += [f"camera {name}: {text}" for text in texts]
            frames, poses = read_frames(folder), read_poses(folder) if inference is not None else None
            cameras[name] = summarize_camera(folder, info, videos[name], frames, poses)
            if inference is not None and poses is not None and videos[name] is not None:
                video, matrix = folder / videos[name], recorded_poses(frames, poses)
                written = _write_deeplabcut(video, matrix, inference["model"], info, rig, started_ns, seconds)
                cameras[name]["files"] = [f"{name}/{path.name}" for path in written]
        except (OSError, ValueError) as error:
            problems.append(f"camera {name}: results can't be written: {error}")
            cameras.setdefault(name, {})
        cameras[name]["counters"] = values[f"camera:{name}"].get(name, {}) | values.get("poses", {}).get(name, {})
    problems += _losses(cameras, rig)
    summary = {
        "session": session.id,
        "folder": str(session.folder),
        "ended": ended,
        "seconds": round(seconds, 3),
        "exit_status": 1 if problems else 0,
        "problems": problems,
        "cameras": cameras,
        "inference": values.get("inference", {}).get("") if inference is not None else None,
        **turned_away,
    }
    try:
        write_json(session.folder / "summary.json", summary)
        session.end({"ended": ended, "problems": problems})
    except OSError as error:
        problems.append(f"{session.folder}: the summary can't be written: {error.strerror}")
        summary["exit_status"] = 1
    return summary


def _write_deeplabcut(
    video: Path,
    values: NDArray[np.float64],
    model: dict[str, Any],
    info: StreamInfo,
    rig: Rig,
    started_ns: int,
    seconds: float,
) -> list[Path]:
    analysis = Analysis(
        start_s=started_ns / 1e9,
        stop_s=started_ns / 1e9 + seconds,
        rate_hz=info.rate_hz or 0.0,
        height=info.height,
        width=info.width,
        batch_size=rig.inference.batch_size if rig.inference is not None else 1,
    )
    return write_deeplabcut_files(video, model, values, analysis)


def _losses(cameras: dict[str, Any], rig: Rig) -> list[str]:
    """Say what was lost against what was asked for: frames in any case, poses where every frame was to have one."""
    texts = []
    every_frame = rig.inference is not None and rig.inference.mode == "every-frame"
    for name, camera in cameras.items():
        frames, poses = camera.get("frames", {}), camera.get("poses", {})
        for state in LOST_STATES:
            if frames.get(state):
                texts.append(f"camera {name}: {frames[state]} frames are not in the video ({state})")
        unwritten = camera["counters"].get("captured", 0) - frames.get("captured", 0)
        if frames and unwritten > 0:
            texts.append(f"camera {name}: {unwritten} frames were delivered and have no row in frames.csv")
        if every_frame and poses.get("skipped"):
            causes = ", ".join(f"{count} {cause}" for cause, count in poses["skipped"].items())
            texts.append(f"camera {name}: every frame was to get a live pose; skipped were {causes}")
        if poses.get("unexplained"):
            texts.append(f"camera {name}: {poses['unexplained']} frames have neither a pose nor a word why")
        if camera["counters"].get("poses_lost"):
            texts.append(f"camera {name}: {camera['counters']['poses_lost']} poses did not reach the pose recorder")
    return texts
