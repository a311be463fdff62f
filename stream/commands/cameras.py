"""`posestream cameras`: what is plugged in, and a short run to see what a rig's cameras really deliver."""

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pandas as pd

from posestream.stream.commands.running import run_for_command
from posestream.stream.disk.tables import LOST_STATES, FrameState
from posestream.stream.disk.video_files import UnreadableError, reading_video
from posestream.stream.rig import Rig, RigError
from posestream.stream.run.supervisor import Display, Supervisor
from posestream.stream.session.json_files import laid_over
from posestream.stream.session.reader import load_session
from posestream.stream.session.session_record import CameraRecord, known
from posestream.stream.session.summary_record import CameraSummary
from posestream.stream.session.tables import read_frames

__all__ = ["list_cameras", "probe_rig", "show_cameras", "show_probe"]

SEARCH_S = 30.0
"""Seconds that a backend may search; GigE cameras take a few to answer."""
BETWEEN = (1, 50, 99)


def list_cameras() -> list[dict[str, Any]]:
    """Ask every installed backend what is there; each in a process of its own, all at once.

    Returns
    -------
    list of dict
        By backend, sorted: `backend`, `searches`, `error` (empty where it can be used), and `cameras`, each with
        `description`, `serial` and the `options` that choose it in a rig.
    """
    from posestream.acquisition.camera import backends

    names = backends()
    with ThreadPoolExecutor(len(names)) as pool:
        return [{"backend": name, **found} for name, found in zip(names, pool.map(_search, names), strict=True)]


def _search(backend: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "posestream.acquisition.backends.discovery", backend]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=SEARCH_S, check=False, text=True)
    except subprocess.TimeoutExpired:
        return {"cameras": [], "searches": True, "error": f"its search did not end within {SEARCH_S:g} s"}
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["without a word"]
        text = f"its search ended with status {ended.returncode}: {lines[-1]}"
        return {"cameras": [], "searches": True, "error": text}
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def show_cameras(found: list[dict[str, Any]]) -> list[str]:
    """Say for people what was found: a line for each camera, or why there is none."""
    lines = []
    for search in found:
        backend = search["backend"]
        if search["error"]:
            lines.append(f"{backend}: can't be used here: {search['error']}")
        elif not search["searches"]:
            lines.append(f"{backend}: always there")
        elif not search["cameras"]:
            lines.append(f"{backend}: no camera found")
        for camera in search["cameras"]:
            options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in camera["options"].items())
            lines.append(f'{backend}: {camera["description"]}, {camera["serial"]}; backend = "{backend}", {options}')
    return lines


def probe_rig(rig: Rig, rig_folder: Path, seconds: float, pictures: Path, display: Display) -> dict[str, Any]:
    """Run the cameras of a rig for a while, recording as in earnest, and keep nothing but a picture of each.

    Parameters
    ----------
    rig
        The rig; its inference is left out.
    rig_folder
        Folder from which its relative paths are taken.
    seconds
        How long to grab.
    pictures
        Folder for `NAME.png`.
    display
        Who shows how it goes.

    Returns
    -------
    dict
        `problems`, and by camera: frames, rates in frames/s, losses by state, intervals between frames in ms, and
        the picture's path.

    Raises
    ------
    RigError
        Where all its cameras are on other machines.
    WrongUseError, NothingRecordedError
        As `Supervisor.run`.
    """
    local = {name: table for name, table in rig.cameras.items() if not table.remote}
    if not local:
        raise RigError("all cameras of this rig are on other machines; test them there")
    session = rig.session.model_copy(update={"seconds": seconds, "name": "test"})
    recording = msgspec.structs.replace(rig.recording, enabled=True)
    rig = rig.model_copy(
        update={"cameras": local, "session": session, "recording": recording, "inference": None},
    )
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="posestream-") as output:
        outcome = run_for_command(Supervisor(rig, rig_folder, Path(output), display))
        details = load_session(outcome.folder).cameras
        cameras = {
            name: _probed(outcome.folder / name, summary, details[name], pictures / f"{name}.png")
            for name, summary in outcome.summary.cameras.items()
        }
    return {"problems": outcome.summary.problems, "cameras": cameras}


def _probed(folder: Path, summary: CameraSummary, details: CameraRecord, picture: Path) -> dict[str, Any]:
    frames = read_frames(folder)
    states = frames["state"].value_counts()
    return {
        "camera": details.camera,
        "size": laid_over(None, summary.size),
        "captured": known(summary.frames, {}).get("captured", 0),
        "recorded": int(states.get(FrameState.RECORDED.value, 0)),
        "lost": {s.value: int(states[s.value]) for s in LOST_STATES if s.value in states},
        "rate_hz": laid_over(None, summary.rate_hz),
        "interval_ms": _intervals(frames["captured_ns"].dropna()),
        "picture": str(picture) if _save_picture(folder / str(details.video), picture) else None,
    }


def _intervals(captured_ns: "pd.Series[Any]") -> dict[str, float] | None:
    if len(captured_ns) < 2:
        return None
    intervals = np.diff(captured_ns.to_numpy(np.int64)) / 1e6
    values = np.percentile(intervals, BETWEEN)
    named = {f"p{percent}": round(float(value), 3) for percent, value in zip(BETWEEN, values, strict=True)}
    return {"min": round(float(intervals.min()), 3), **named, "max": round(float(intervals.max()), 3)}


def _save_picture(video: Path, picture: Path) -> bool:
    """Save the last picture of a video: auto exposure has settled by then."""
    last = None
    try:
        with reading_video(video) as (container, stream):
            for frame in container.decode(stream):
                last = frame
    except UnreadableError:
        return False
    if last is None:
        return False
    picture.write_bytes(cv2.imencode(".png", last.to_ndarray(format="bgr24"))[1].tobytes())
    return True


def show_probe(result: dict[str, Any]) -> list[str]:
    """Say for people what the cameras delivered."""
    lines = []
    for name, camera in result["cameras"].items():
        rate, between = camera["rate_hz"], camera["interval_ms"]
        lost = ", ".join(f"{count} {state}" for state, count in camera["lost"].items())
        size = camera["size"]
        lines.append(f"camera {name}: {camera['camera']}")
        lines.append(f"  frames    {camera['captured']}, {lost or 'none lost'}, {size['width']}x{size['height']}")
        asked = f"{rate['asked']:g}/s asked" if rate["asked"] else "none asked"
        lines.append(f"  rate      {asked}, {rate['measured'] or 0:g}/s measured")
        if between:
            lines.append("  interval  " + ", ".join(f"{key} {value:g}" for key, value in between.items()) + " ms")
        if camera["picture"]:
            lines.append(f"  picture   {camera['picture']}")
    return lines + [f"problem: {problem}" for problem in result["problems"]]
