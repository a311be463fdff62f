import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from posestream.inference.errors import ModelError
from posestream.stream.cli import main
from posestream.stream.run.supervisor import StartError, WrongUseError
from posestream.stream.wire.errors import InputError, UserError

from ..support.networks import random_network
from ..support.videos import write_video

HEAVY = {"av", "cv2", "keras", "msgspec", "numpy", "pandas", "pydantic", "rich", "tables", "tensorflow", "zmq"}


def test_help_imports_nothing_heavy(posestream) -> None:
    status, out, _ = posestream("--help").end()
    assert status == 0
    for command in ("run", "demo", "subscribe"):
        assert command in out
    code = (
        "import sys, posestream.stream.cli as cli; found = cli.main.list_commands(None);"
        "assert all(cli.main.get_command(None, name).name == name for name in found);"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "gone.toml"], ["subscribe", "nowhere"], ["fly"], ["join", "x", "y"]]
)
def test_wrong_use_has_status_2_and_a_sentence(posestream, arguments) -> None:
    status, out, err = posestream(*arguments).end()
    assert status == 2
    assert out == ""
    assert "rror" in err
    assert "Traceback" not in err


def test_nobody_publishes(posestream) -> None:
    status, _, err = posestream("subscribe", "tcp://127.0.0.1:1", "--json", "--timeout", 0.3).end()
    assert status == 1
    assert "no pose within 0.3 s" in err


def test_a_model_is_converted_and_described(posestream, random_model, tmp_path) -> None:
    assert posestream("model", "import", random_model, tmp_path / "copy", "--dtype", "float16").end()[0] == 0
    status, out, _ = posestream("model", "info", tmp_path / "copy").end()
    assert status == 0
    assert "bodyparts: snout, leftear, rightear, tailbase" in out
    status, _, err = posestream("model", "import", random_model, tmp_path / "copy").end()
    assert status == 2
    assert "copy" in err
    status, _, err = posestream("model", "info", tmp_path).end()
    assert status == 2
    assert "not a model" in err


def test_a_model_is_held_against_recorded_poses(posestream, random_model, tmp_path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    np.savez(tmp_path / "poses.npz", frames_bgr=frames, poses=np.full((3, 4, 3), 5.0), seconds=np.ones(3))
    check = ("model", "check", random_model, "--json")
    status, out, _ = posestream(*check, "--against", tmp_path / "poses.npz").end()
    assert status == 1
    assert json.loads(out)["rows"][0]["within_limits"] is False
    status, out, err = posestream("model", "check", random_model, "--frames", "1").end()
    assert status == 0
    assert "frames per second" in out
    assert "loading the network" in err
    assert "noise: compiling the network for 640x480 pixels" in err
    assert "1 of 1 frames" in err
    status, _, err = posestream(*check, "--against", tmp_path / "none.npz").end()
    assert status == 2
    assert "not an archive of poses" in err


def test_a_model_is_exported_and_held_against_float32(posestream, tmp_path) -> None:
    random_network("student_small").save(tmp_path / "student")
    video = write_video(tmp_path / "clip.mp4", 6, 96, 128)
    export = ("model", "export", tmp_path / "student", "--format", "onnx", "--output", tmp_path / "student.onnx")
    status, out, err = posestream(*export, "--check", video, "--frames", "3", "--pixel-format", "gray8").end()
    assert status == 0, err
    assert "any batch and size" in out
    assert "within the limits of 0.05 px" in out
    model = onnx.load(tmp_path / "student.onnx")
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["frames", "poses"]
    status, out, err = posestream(*export).end()
    assert (status, out) == (2, "")
    assert "exists already" in err
    status, out, _ = posestream(*export[:-1], tmp_path / "half.onnx", "--precision", "float16", "--json").end()
    made = json.loads(out)
    assert (status, made["precision"], made["checked"]) == (0, "float16", [])
    assert made["bytes"] < 0.6 * (tmp_path / "student.onnx").stat().st_size
    assert not list(tmp_path.glob("*.tmp"))


def test_an_empty_video_gets_one_message_from_every_command(posestream, rig, random_model, tmp_path) -> None:
    video = tmp_path / "empty clip.mp4"
    video.touch()
    camera = rig(f'[cameras.top]\nbackend = "file"\npath = "{video.name}"\n')
    for command, status in (
        (("analyze", video, "--model", random_model), 1),
        (("model", "check", random_model, "--video", video), 2),
        (("model", "export", random_model, "--format", "onnx", "--output", "new.onnx", "--check", video), 2),
        (("model", "optimize", random_model, "--precision", "int8", "--calibrate", video, "--output", "new"), 2),
        (("bench", "speed", random_model, "--video", video), 2),
        (("run", camera), 2),
    ):
        found, out, err = posestream(*command).end()
        assert (found, f"{video}: the file is empty (0 bytes)" in out + err) == (status, True), (command, out, err)
        assert "Errno" not in out + err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_is_answered_by_a_command_that_is_in_a_library(posestream, random_model) -> None:
    running = posestream("model", "check", random_model, "--engine", "tensorflow")
    running.until("loading the network")
    running.interrupt()
    running.until("interrupted; ending")
    status, out, err = running.end()
    assert (status, out) == (1, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("error", [UserError, InputError, StartError, WrongUseError, ModelError])
def test_an_error_for_people_ends_a_command_with_its_own_status(monkeypatch, error, tmp_path) -> None:
    def fail(_folder) -> None:
        broken = error("the disk is\x1b[2J full")
        broken.place, broken.log = "Traceback of the camera", tmp_path / "camera.log"
        raise broken

    monkeypatch.setattr("posestream.stream.wire.keys.create_keys", fail)
    ended = CliRunner().invoke(main, ["keys", "new"])
    assert ended.exit_code == error.exit_status == (1 if error in {UserError, StartError} else 2)
    assert ended.output.startswith("error: the disk is\\x1b[2J full\nlog: ")
    assert "Traceback of" not in ended.output
    assert "Traceback of the camera" in CliRunner().invoke(main, ["--debug", "keys", "new"]).output
