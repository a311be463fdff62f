"""The example of a backend of one's own, installed as a user installs it, held to the contract, and recorded with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

POSESTREAM = shutil.which("posestream", path=str(Path(sys.executable).parent)) or "posestream"
EXAMPLE = Path(__file__).parents[2] / "examples" / "own_camera"
GENERATOR = """
import time
import numpy as np

def grab():
    for number in range(10_000):
        time.sleep(0.005)
        yield np.add.outer(np.arange(48), np.arange(64) + number).astype(np.uint8)

def ends():
    yield from (np.full((48, 64, 3), value, np.uint8) for value in range(50))

def breaks():
    raise OSError("no such sensor")
    yield
"""
CONTRACT = """
import pytest
from posestream.acquisition.camera import CameraError, create_camera
from posestream.acquisition.contract import CameraContract

class TestGenerator(CameraContract):
    @pytest.fixture
    def make(self, tmp_path):
        return create_camera("top", "generator", {"frames": "mylab:grab"}, tmp_path)

@pytest.mark.parametrize("frames", ["mylab:breaks", "mylab:absent", "absent:grab"])
def test_what_is_wrong_is_said(frames, tmp_path):
    with pytest.raises(CameraError, match=frames):
        create_camera("top", "generator", {"frames": frames}, tmp_path).open()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the plugin beside us; gives the environment in which it is there, with a lab's module."""
    folder = tmp_path_factory.mktemp("own")
    source, target = folder / "source", folder / "site"
    source.mkdir()  # a build leaves files beside the source
    for name in ("pyproject.toml", "generator_camera.py"):
        (source / name).write_bytes((EXAMPLE / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(source)], check=True)
    (target / "mylab.py").write_text(GENERATOR, encoding="utf-8")
    paths = [str(target), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def test_it_keeps_the_contract(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_generator.py").write_text(CONTRACT, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, env=installed, cwd=tmp_path, capture_output=True, check=False, text=True)
    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout


def test_its_rig_records_to_the_end(installed: dict[str, str], tmp_path: Path) -> None:
    run = [POSESTREAM, "run", str(EXAMPLE / "rig.toml"), "--set", "cameras.top.frames=mylab:ends", "--output", "out"]
    ended = subprocess.run(run, env=installed, cwd=tmp_path, capture_output=True, check=False, text=True)
    assert ended.returncode == 0, ended.stderr
    (session,) = (tmp_path / "out").iterdir()
    proof = subprocess.run([POSESTREAM, "verify", str(session)], capture_output=True, check=False, text=True)
    assert proof.returncode == 0, proof.stdout + proof.stderr
    rows = (session / "top" / "frames.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 50  # the first picture told the size
