"""`posestream cameras`, `cameras test` and `doctor`, as a user calls them, on what is always there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from posestream.stream.commands.cameras import list_cameras
from posestream.stream.rig import load_rig

RIG = """
[cameras.arena]
backend = "synthetic"
width = 160
height = 120
rate_hz = 100
drop = 0.05
"""


def test_every_backend_answers(posestream) -> None:
    status, out, _ = posestream("cameras", "--json").end()
    assert status == 0
    found = {search["backend"]: search for search in json.loads(out)}
    assert {"file", "opencv", "synthetic"} <= set(found)
    assert not found["synthetic"]["error"]
    assert not found["synthetic"]["searches"]


def test_a_plugin_that_crashes_takes_nothing_else_with_it(tmp_path, monkeypatch) -> None:
    plugin = tmp_path / "crashing-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: crashing\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[posestream.cameras]\ncrashing = crashing:Camera\n")
    (tmp_path / "crashing.py").write_text("import os\n\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {search["backend"]: search for search in list_cameras()}
    assert "ended with status" in found["crashing"]["error"]
    assert not found["synthetic"]["error"]


def test_a_rigs_cameras_are_tested_and_nothing_is_kept_but_pictures(posestream, rig, tmp_path) -> None:
    status, out, err = posestream("cameras", "test", rig(RIG), "--seconds", 1.5, "--json").end()
    assert status == 1, err  # it loses frames on request
    arena = json.loads(out)["cameras"]["arena"]
    assert arena["lost"]["lost-camera"] > 0
    assert arena["captured"] == arena["recorded"] > 20
    assert arena["interval_ms"]["max"] >= 20  # where a frame is missing
    assert np.asarray(cv2.imread(str(tmp_path / arena["picture"]))).shape == (120, 160, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camera-test", "rig.toml"]


def test_a_rig_that_is_wrong_is_wrong_use(posestream, rig) -> None:
    status, _, err = posestream("cameras", "test", rig(RIG.replace("synthetic", "sinthetic"))).end()
    assert status == 2
    assert 'did you mean "synthetic"' in err


@pytest.mark.timeout(300)  # it runs the network in every engine
def test_the_doctor_looks_at_everything(posestream, rig, random_model, tmp_path) -> None:
    sick = f'{RIG}[recording]\ncodec = "h264_nosuch"\n[inference]\nmodel = "{random_model}"\n'
    status, out, err = posestream("doctor", rig(sick), "--output", tmp_path / "out", "--json").end(250)
    assert status == 1, err
    findings = json.loads(out)
    assert {finding["part"] for finding in findings} >= {"system", "encoder", "engine", "camera", "disk", "clock"}
    problems = [finding["text"] for finding in findings if finding["level"] == "problem"]
    assert len(problems) == 1, problems
    assert "h264_nosuch" in problems[0]
    assert any("frames/s" in finding["text"] for finding in findings if finding["part"] == "engine")
    (camera,) = [finding for finding in findings if finding["text"].startswith("camera arena: simulated")]
    assert camera["text"].endswith("160x120 gray8 at 100 frames/s")
    (poses,) = [finding for finding in findings if finding["part"] == "poses"]
    assert "expect about" in poses["text"]
    assert "160x120" in poses["text"]
    assert "the camera gives 100" in poses["text"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rig.toml"]


@pytest.mark.timeout(300)
def test_the_doctor_without_a_rig_names_a_network_and_versions_that_people_know(posestream) -> None:
    status, out, err = posestream("doctor").end(250)
    assert status == 0, err
    assert "with openfield-mouse" in out
    assert re.search(r"FFmpeg \d+\.\d+.*, PyAV \d+\.\d+", out)
    assert "h264_nvenc" in out
    for raw in ("random", "Errno", "avcodec_open2"):
        assert raw not in out


def test_the_doctor_tells_a_wrong_key_of_a_camera(rig) -> None:
    from posestream.stream.commands.doctor import look_at_cameras

    streams: list[Any] = []
    wrong = load_rig(rig(RIG.replace("width", "widht")))
    (finding,) = look_at_cameras(wrong, Path(), streams)
    assert finding.level == "problem"
    assert 'cameras.arena.widht: unknown key (did you mean "width"?)' in finding.text
    assert streams == []


def test_the_doctor_notices_that_others_use_the_processor() -> None:
    from posestream.stream.commands.doctor import look_at_load

    # Cameras' libraries may have made this process a real-time one; what spins must not be one, nor spin for ever.
    spins = """
import os, time
if hasattr(os, "sched_setscheduler"):
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
end = time.monotonic() + 20
while time.monotonic() < end:
    pass
"""
    spin = [sys.executable, "-c", spins]
    others = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        (finding,) = look_at_load()
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert "% of the processor" in finding.text
    assert "run doctor again" in finding.advice
