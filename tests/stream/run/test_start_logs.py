"""What a child process of a run printed can be found, whenever it failed."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from posestream.stream.run.start_logs import KEPT, LOGS_VARIABLE

from ...support.runs import ARENA
from ...support.videos import write_video
from ..test_run import inference

pytestmark = pytest.mark.timeout(180)
BROKEN = {
    "camera": ('[cameras.top]\nbackend = "file"\npath = "gone.mp4"\n', "gone.mp4", "camera-top.log", "CameraError"),
    "model": (ARENA + '[inference]\nmodel = "damaged"\n', "weights.safetensors", "inference.log", "ModelError"),
    "inference": (
        ARENA + '[inference]\nmodel = "openfield-mouse"\nengine = "opnvino"\n',
        "opnvino",
        "inference.log",
        "ModelError",
    ),
}


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(LOGS_VARIABLE, str(tmp_path / "logs"))
    return tmp_path / "logs"


@pytest.fixture
def damaged(random_model: Path, tmp_path: Path) -> None:
    """A bundle whose weights end too early, which inference alone finds out."""
    shutil.copytree(random_model, tmp_path / "damaged")
    with (tmp_path / "damaged" / "weights.safetensors").open("r+b") as file:
        file.truncate(1_000_000)


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize("case", BROKEN)
def test_an_error_before_the_session_names_the_kept_log(posestream, rig, logs, case) -> None:
    text, expected, name, error = BROKEN[case]
    status, _, err = posestream("run", rig(text), "--seconds", 1).end()
    assert status == 2
    assert expected in err
    assert "Traceback" not in err
    named = re.search(r"^log: (.*) \(posestream --debug shows the traceback\)$", err, re.M)
    assert named is not None, err
    log = Path(named[1])
    assert log.parent.parent == logs
    assert log.name == name
    assert "Traceback" in log.read_text()
    assert error in log.read_text()


@pytest.mark.usefixtures("damaged")
@pytest.mark.parametrize("case", BROKEN)
def test_with_debug_the_traceback_of_the_child_is_shown(posestream, rig, logs, case) -> None:
    text, expected, _, error = BROKEN[case]
    status, _, err = posestream("--debug", "run", rig(text), "--seconds", 1).end()
    assert status == 2
    assert "Traceback (most recent call last)" in err
    assert f"{error}: " in err
    assert expected in err.splitlines()[-2]  # the sentence comes last, and then where the log is
    assert err.splitlines()[-1].startswith("log: ")


def test_the_oldest_logs_go(posestream, rig, logs) -> None:
    for number in range(KEPT):
        (logs / f"2020-01-01T00-00-{number:02}_1").mkdir(parents=True)
    text = BROKEN["camera"][0]
    assert posestream("run", rig(text)).end()[0] == 2
    left = sorted(path.name for path in logs.iterdir())
    assert len(left) == KEPT
    assert "2020-01-01T00-00-00_1" not in left
    assert "2020-01-01T00-00-01_1" in left


def test_an_error_in_a_session_names_its_log(posestream, rig, tmp_path, logs) -> None:
    # A video that ends in the middle of a packet: the camera's process fails while it films.
    data = bytearray(write_video(tmp_path / "damaged.mp4", 90).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    (tmp_path / "damaged.mp4").write_bytes(data)
    text = '[cameras.top]\nbackend = "file"\npath = "damaged.mp4"\npace = 200.0\n'
    status, out, err = posestream("--debug", "run", rig(text), "--json").end()
    assert status == 1
    summary = json.loads(out)
    assert len(summary["problems"]) == 1
    log = Path(summary["folder"]) / "logs" / "camera-top.log"
    assert "Traceback" in log.read_text()
    assert log.read_text().strip().splitlines()[-1] in err
    assert err.splitlines()[-1] == f"log: {log}"
    assert not logs.exists()


def test_an_unforeseen_error_is_shown_too(posestream, rig, random_model, tmp_path, logs) -> None:
    site = tmp_path / "site"
    site.mkdir()
    # A library of the inference process that fails to load.
    (site / "openvino.py").write_text('raise RuntimeError("no such instruction")\n')
    env = os.environ | {"PYTHONPATH": str(site)}
    text = ARENA + inference(random_model, engine="openvino")
    status, _, err = posestream("--debug", "run", rig(text), env=env).end()
    assert status in {1, 2}
    assert "Traceback" in err
    assert "no such instruction" in err
