"""The example programs, as the README says to start them, on one run of the simulated mouse, and called wrongly."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from ..support.runs import POSESTREAM, free_endpoint

EXAMPLES = Path(__file__).parents[2] / "examples"
# The snout of this seed's mouse enters the zone of closed_loop.py after 2 s, and stays for 3 s.
RIG = """
[session]
name = "mouse"
output = "out"
min_free_gib = 0.01
[cameras.top]
backend = "synthetic"
width = 320
height = 240
rate_hz = 20.0
seed = 20
buffers = 1000
[inference]
model = "openfield-mouse"
[network]
poses = "{endpoint}"
"""
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))
ENTERED = re.compile(r"frame (\d+): snout entered at (\d+), (\d+); pose (\d+) ms old")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The session's folder of the camera, and what closed_loop.py said meanwhile."""
    work, endpoint = tmp_path_factory.mktemp("mouse"), free_endpoint()
    (work / "rig.toml").write_text(RIG.format(endpoint=endpoint))
    command = [sys.executable, str(EXAMPLES / "closed_loop.py"), endpoint, "snout"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as loop:
        run = [POSESTREAM, "run", str(work / "rig.toml"), "--seconds", "6"]
        ended = subprocess.run(run, cwd=work, capture_output=True, text=True, check=False, timeout=100)
        assert ended.returncode == 0, ended.stderr
        said, _ = loop.communicate(timeout=30)
        assert loop.returncode == 0
    (session,) = (work / "out").iterdir()
    return session / "top", said


@pytest.mark.timeout(180)
def test_the_closed_loop_reacts_where_the_snout_enters_its_zone(recorded: tuple[Path, str]) -> None:
    folder, said = recorded
    poses = pd.read_csv(folder / "poses.csv")
    truth = pd.read_csv(folder / "truth.csv").set_index("seq")
    found = re.search(r"(\d+) poses, (\d+) lost\n$", said)
    assert found is not None, said
    assert 0 < int(found[1]) <= len(poses)  # the last lines' poses that were passed over for newer ones are not counted
    assert int(found[2]) == 0
    entered = [list(map(int, line)) for line in ENTERED.findall(said)]
    assert entered, said
    for frame, x, y, age_ms in entered:
        assert 100 <= x <= 220
        assert 80 <= y <= 160
        assert np.hypot(x - truth.loc[frame].iloc[0], y - truth.loc[frame].iloc[1]) < 10
        assert age_ms > 0


def test_the_overlay_shows_frames_with_a_circle_at_each_body_part(recorded: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = recorded
    out = tmp_path / "overlay.png"
    subprocess.run([sys.executable, str(EXAMPLES / "overlay.py"), str(folder), str(out), "4"], check=True, timeout=60)
    picture = np.asarray(cv2.imread(str(out)))
    assert picture.shape == (2 * 480, 2 * 640, 3)  # four frames, twice as large
    coloured = picture.max(axis=2).astype(int) - picture.min(axis=2) > 60  # the video is grey
    for row in range(2):
        for column in range(2):
            assert coloured[row * 480 : row * 480 + 480, column * 640 : column * 640 + 640].sum() > 4 * 50


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_a_usage(name: str) -> None:
    ended = run(name, "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"usage: {name}")


def test_overlay_without_arguments_prints_its_usage() -> None:
    ended = run("overlay.py")
    assert ended.returncode == 2
    assert "usage: overlay.py" in ended.stderr
    assert "SESSION/CAMERA, OUT.png" in ended.stderr


def test_overlay_of_what_is_no_session(tmp_path: Path) -> None:
    ended = run("overlay.py", tmp_path, tmp_path / "out.png")
    assert ended.returncode == 2
    assert "no video with DeepLabCut's files" in ended.stderr


def test_closed_loop_where_nobody_publishes() -> None:
    ended = run("closed_loop.py", "tcp://127.0.0.1:1", "--wait", 0.2)
    assert ended.returncode == 1
    assert "nobody publishes there" in ended.stderr
    assert "Traceback" not in ended.stderr
