"""A rig over two machines: `posestream join` and `posestream run` in either order, and what each says of the other."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ...support.runs import arena, free_endpoint
from ..test_run import inference

pytestmark = pytest.mark.timeout(400)
ARM_S = 180
"""A busy machine takes so long to convert the network and to warm it up."""
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signal to one process")


class TwoMachines:
    """A rig whose inference is elsewhere."""

    def __init__(self, folder: Path, posestream, rig, model: Path, size: str) -> None:
        posestream("keys", folder / "lab").end()
        self.posestream, self.control = posestream, free_endpoint()
        network = f'[network]\nkeys = "lab"\ncontrol = "{self.control}"\nposes = "{free_endpoint()}"\n'
        endpoint = f'endpoint = "{free_endpoint()}"\n'
        self.file = rig(f"{arena(size)}{endpoint}{inference(model, remote=True, precision='float32')}{network}")
        self.keys = folder / "lab"

    def run(self, *arguments: object):
        return self.posestream("run", self.file, "--json", *arguments)

    def join(self, role: str = "inference", *arguments: object, keys: bool = True):
        given = ("--keys", self.keys) if keys else ()
        return self.posestream("join", role, self.control, *given, *arguments)


@pytest.fixture
def size() -> str:
    return "96x64"


@pytest.fixture
def two(tmp_path, posestream, rig, random_model, size) -> TwoMachines:
    return TwoMachines(tmp_path, posestream, rig, random_model, size)


@pytest.mark.parametrize(("first", "size"), [("join", "640x480"), ("run", "96x64")])
def test_inference_joins_with_keys_before_or_after_the_run(two, first) -> None:
    if first == "join":
        other = two.join()
        other.until(f"waiting for the run at {two.control}, as inference, with the keys in {two.keys}")
        run = two.run("--seconds", 4)
    else:
        run = two.run("--seconds", 4)
        run.until(f"posestream join inference {two.control} --keys")
        other = two.join()
    stranger = two.join("inference", "--wait", 3, keys=False)
    summary = run.summary(0, ARM_S)
    camera = summary["cameras"]["top"]
    taken = camera["frames"]["captured"] - camera["poses"]["skipped"].get("fresher-frame", 0)
    assert camera["poses"]["recorded"] >= 0.95 * taken > 0
    assert "lost-on-wire" not in camera["poses"]["skipped"]
    assert camera["poses"]["unexplained"] == 0
    status, _, err = other.end()
    assert status == 0, err
    assert f"the run at {two.control} has ended; inference is done" in err.splitlines()[-1]
    status, _, err = stranger.end()
    assert status == 1
    assert "add --keys FOLDER" in err.splitlines()[-1]
    names = [json.loads(line)["name"] for line in (Path(summary["folder"]) / "events.jsonl").read_text().splitlines()]
    assert "no-frames" not in names


def test_where_no_run_comes_join_says_what_to_start_and_to_check(two) -> None:
    status, _, err = two.join("inference", "--wait", 1).end()
    assert status == 1
    assert "posestream run RIG.toml" in err
    assert two.control in err
    assert "firewall" in err
    assert f"port {two.control.rpartition(':')[2]}" in err


@posix
def test_ctrl_c_ends_the_waiting(two) -> None:
    other = two.join()
    other.until("waiting for the run")
    other.interrupt()
    status, _, err = other.end(20)
    assert status == 1
    assert "joined no run" in err.splitlines()[-1]
    assert "Traceback" not in err


@posix
def test_ctrl_c_in_a_run_ends_inference_and_the_run_says_who_did(two) -> None:
    other, run = two.join(), two.run()
    run.until_rows(2, "top/poses.csv", ARM_S)
    other.interrupt()
    status, _, err = other.end()
    assert status == 0, err
    assert "the run has been told" in err.splitlines()[-1]
    assert "Traceback" not in err
    summary = run.summary(1)
    assert any("inference: ended by hand" in problem for problem in summary["problems"])
    assert summary["cameras"]["top"]["poses"]["unexplained"] == 0


@posix
def test_when_the_run_is_killed_join_says_so(two) -> None:
    other, run = two.join(), two.run()
    run.until_rows(2, "top/poses.csv", ARM_S)
    run.process.kill()
    status, _, err = other.end()
    assert status == 1
    assert f"the run at {two.control} is gone" in err.splitlines()[-1]


def test_when_the_run_can_not_start_join_says_why(two) -> None:
    other = two.join()
    other.until("waiting for the run")
    run = two.run("--set", 'recording.codec="libx999"')
    assert run.end()[0] == 2
    status, _, err = other.end()
    assert status == 1
    assert "ended before it started" in err.splitlines()[-1]
    assert "libx999" in err.splitlines()[-1]


def test_an_error_of_inference_elsewhere_is_told_on_both_sides(two, tmp_path) -> None:
    other = two.join()
    run = two.run("--set", f'inference.model="{tmp_path / "no-such-model"}"')
    status, _, err = run.end()
    assert status == 2
    assert "inference, on its machine:" in err
    assert "no-such-model" in err
    status, _, err = other.end()
    assert status == 2
    assert "no-such-model" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_role_that_the_rig_does_not_have_is_named(two) -> None:
    run = two.run("--seconds", 1)
    run.until("posestream join inference")
    wrong = two.join("camera:side")
    status, _, err = wrong.end()
    assert status == 2
    assert "its rig has no camera:side with remote = true; it takes inference" in err
    wrong = two.join("camera:top")
    assert wrong.end()[0] == 2
    run.process.send_signal(signal.SIGTERM)
    assert run.end()[0] in {1, 15, -15}


# Inference as it was before limits counted what encryption adds: it never gets a frame of this size.
DEAF = """
import sys
from posestream.stream.wire import sockets
sockets.CURVE_BYTES = 0
from posestream.inference.live.process import main
sys.exit(main(["--control", sys.argv[1], "--keys", sys.argv[2]]))
"""


@posix
@pytest.mark.parametrize("size", ["640x480"])
def test_inference_that_gets_no_frame_is_told_of(two) -> None:
    """Within two seconds where no process has to wait for a core; see test_frame_watch.py."""
    run = two.run()
    run.until("posestream join inference")
    with subprocess.Popen([sys.executable, "-c", DEAF, two.control, str(two.keys)], env=os.environ) as other:
        run.until("INFERENCE RECEIVES NO FRAMES", ARM_S)
        run.interrupt()
        summary = run.summary(1)
        assert other.wait(30) == 0
    folder, camera = Path(summary["folder"]), summary["cameras"]["top"]
    assert any("camera top: inference received none of the last" in problem for problem in summary["problems"])
    assert camera["poses"]["skipped"] == {"lost-on-wire": camera["frames"]["captured"]}
    assert camera["poses"]["unexplained"] == 0
    [event] = [
        event
        for event in map(json.loads, (folder / "events.jsonl").read_text().splitlines())
        if event["name"] == "no-frames"
    ]
    assert event["level"] == "warning"


@posix
def test_when_frames_come_again_that_is_told_too(two) -> None:
    other, run = two.join(), two.run()
    run.until_rows(2, "top/poses.csv", ARM_S)
    other.process.send_signal(signal.SIGSTOP)
    run.until("warning: inference has not reported for")
    other.process.send_signal(signal.SIGCONT)
    run.until("inference receives frames of camera top again")
    run.interrupt()
    summary = run.summary(0)
    assert summary["cameras"]["top"]["poses"]["unexplained"] == 0
