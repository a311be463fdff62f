"""Cameras that are lost, and disks that fill, in whole runs."""

import csv
import json
from pathlib import Path
from shutil import disk_usage

import pytest

from posestream.stream.session.verify import verify_session

from .conftest import ARENA, frames_in

pytestmark = pytest.mark.timeout(180)


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "frames.csv").read_text().splitlines()))


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_a_camera_that_comes_back_leaves_a_gap_and_one_sound_session(posestream, rig) -> None:
    arena = f"{ARENA}unplug = [30, 0.6]\nskew_ppm = 80.0\njitter_ms = 4.0\n"
    summary = posestream("run", rig(arena), "--seconds", 4, "--json").summary(0)
    camera, folder = summary["cameras"]["top"], Path(summary["folder"])
    table = rows(folder / "top")
    assert camera["gaps"]["count"] == 1
    assert camera["gaps"]["ms"] >= 600
    assert any("the camera was lost" in remark for remark in camera["remarks"])
    assert "camera reconnected" in table[30]["note"]
    assert camera["frames"]["captured"] == camera["frames"]["recorded"] == frames_in(folder / "top" / "video.mp4") > 60
    assert camera["frames"]["lost-camera"] == 0
    names = [event["name"] for event in events(folder)]
    assert [names.count(name) for name in ("disconnected", "reconnected")] == [1, 1]
    assert camera["rate_hz"]["measured"] == pytest.approx(50, rel=0.05)
    assert camera["clock"]["restarts"] == 0  # that it was opened again is known
    residual = camera["clock"]["residual_ms"]
    assert 0 <= residual["p50"] <= residual["p99"] <= residual["max"]
    assert residual["p50"] == pytest.approx(2.0, abs=1.0)  # delays are uniform from 0 to 4 ms


def test_a_camera_that_stays_away_ends_the_run_and_the_session_is_sound(posestream, rig) -> None:
    arena = f"{ARENA}unplug = [30, 1e6]\nreconnect_s = 0.7\n"
    summary = posestream("run", rig(arena), "--seconds", 60, "--json").summary(1)
    folder = Path(summary["folder"])
    assert summary["ended"] == "failure"
    [problem] = summary["problems"]
    assert "did not come back within the 0.7 s of reconnect_s" in problem
    assert [row["state"] for row in rows(folder / "top")] == ["recorded"] * 30
    assert verify_session(folder)["problems"] == []


def test_without_reconnect_a_lost_camera_ends_the_run_at_once(posestream, rig) -> None:
    arena = f"{ARENA}unplug = [30, 0.1]\nreconnect_s = 0\n"
    summary = posestream("run", rig(arena), "--seconds", 60, "--json").summary(1)
    assert summary["problems"] == ["camera top: the synthetic camera was unplugged"]
    assert summary["cameras"]["top"]["frames"]["recorded"] == 30


def test_ctrl_c_ends_a_run_whose_camera_is_away_and_the_gap_is_printed(posestream, rig) -> None:
    run = posestream("run", rig(f"{ARENA}unplug = [30, 1e6]\nreconnect_s = 1e6\n"))
    run.until("was lost before frame 30")
    run.interrupt()
    status, out, err = run.end(30)
    assert status == 0, err
    assert "the camera was lost (times: 1)" in out
    assert "30 captured, 30 recorded, none lost" in out


def test_a_disk_that_fills_is_told_of_and_ends_the_run_before_it_is_full(posestream, rig, tmp_path) -> None:
    """The limits are set by what is free now; what fills the disk is another program's file."""
    free_gib = disk_usage(tmp_path).free / 2**30
    path = rig(ARENA)
    path.write_text(
        path.read_text().replace("[cameras.top]", f"stop_free_gib = {free_gib - 0.5:.3f}\n[cameras.top]", 1)
    )
    run = posestream("run", path, "--seconds", 100, "--json")
    run.until_rows(30, "top/frames.csv")
    run.until("the run ends at")  # there is less than twice the limit from the beginning
    with (tmp_path / "other").open("wb") as file:
        while disk_usage(tmp_path).free / 2**30 > free_gib - 0.6:  # whatever others write or remove meanwhile
            file.write(bytes(2**20))
            file.flush()
    summary = run.summary(1)
    folder = Path(summary["folder"])
    assert summary["seconds"] < 60
    [problem] = summary["problems"]
    assert "session.stop_free_gib" in problem
    assert [event["name"] for event in events(folder)].count("space") == 1
    camera = summary["cameras"]["top"]
    assert camera["frames"]["recorded"] == camera["frames"]["captured"] == frames_in(folder / "top" / "video.mp4") >= 30
    assert verify_session(folder)["problems"] == []


def test_a_disk_below_the_limit_is_refused(posestream, rig) -> None:
    path = rig(ARENA)
    path.write_text(path.read_text().replace("[cameras.top]", "stop_free_gib = 1e9\n[cameras.top]", 1))
    status, _, err = posestream("run", path).end()
    assert status == 2
    assert "session.stop_free_gib" in err
