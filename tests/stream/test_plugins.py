"""Plug-ins that misbehave, in whole runs: each fault has a name, and the recording is whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from posestream.stream.run.current import CLOSE_S
from posestream.stream.session.verify import verify_session

from .conftest import ARENA, BODYPARTS, frames_in

pytestmark = pytest.mark.timeout(180)

CAMERA = '[cameras.top]\nbackend = "trouble"\nfault = "{fault}"\n'


def sound(summary: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """See that a session is closed, proved, and that each frame that was delivered is in the video."""
    folder = Path(summary["folder"])
    assert json.loads((folder / "session.json").read_text())["state"] == "complete"
    assert verify_session(folder)["problems"] == []
    camera = summary["cameras"]["top"]
    assert camera["frames"]["captured"] == camera["frames"]["recorded"] == frames_in(folder / "top" / "video.mp4")
    return camera, folder


ERRORS = ("RuntimeError", "SystemExit", "KeyboardInterrupt", "MemoryError", "GeneratorExit")


@pytest.mark.parametrize("error", ERRORS)
def test_a_camera_that_raises_in_read_is_named_and_its_recording_whole(posestream, rig, plugins, error) -> None:
    summary = posestream("run", rig(CAMERA.format(fault=f"read:{error}")), "--json", env=plugins).summary(1)
    assert summary["problems"] == [f'camera top: its backend "trouble" raised {error} in read']
    assert summary["ended"] == "failure"
    assert sound(summary)[0]["frames"]["recorded"] == 20


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt", "RuntimeError"])
def test_a_camera_that_raises_in_stop_is_named_and_the_run_ends_in_its_time(
    posestream, rig, random_model, plugins, error
) -> None:
    text = CAMERA.format(fault=f"stop:{error}") + engine_table(random_model)
    path, environment = rig(text), plugins | {"TROUBLE_ENGINE": ""}
    summary = posestream("run", path, "--seconds", 2, "--json", env=environment).summary(1)
    assert summary["problems"] == [f'camera top: its backend "trouble" raised {error} in stop']
    assert summary["ended"] == "seconds"
    assert (
        summary["seconds"] < CLOSE_S
    )  # and not half a minute more, in which everybody waited for the camera's last word
    camera, _ = sound(summary)
    assert camera["frames"]["recorded"] > 20
    assert camera["poses"]["unexplained"] == 0


def test_a_camera_that_raises_in_start_is_named(posestream, rig, plugins) -> None:
    summary = posestream("run", rig(CAMERA.format(fault="start:SystemExit")), "--json", env=plugins).summary(1)
    assert summary["problems"] == ['camera top: its backend "trouble" raised SystemExit in start']
    assert verify_session(Path(summary["folder"]))["problems"] == []


def test_a_camera_that_never_delivers_closes_its_files(posestream, rig, plugins) -> None:
    summary = posestream("run", rig(CAMERA.format(fault="silent")), "--seconds", 2, "--json", env=plugins).summary(0)
    assert summary["problems"] == []
    assert summary["cameras"]["top"]["frames"]["captured"] == 0


def test_a_camera_that_raises_in_open_is_named_and_nothing_stays(posestream, rig, plugins, tmp_path) -> None:
    status, _, err = posestream("run", rig(CAMERA.format(fault="open:SystemExit")), env=plugins).end()
    assert status == 1
    assert 'camera top: its backend "trouble" raised SystemExit in open' in err
    assert not any((tmp_path / "out").iterdir())


def test_numbers_of_another_type_are_named(posestream, rig, plugins) -> None:
    summary = posestream("run", rig(CAMERA.format(fault="numbers")), "--json", env=plugins).summary(1)
    assert summary["problems"] == [
        'camera top: its backend "trouble" gave device_id = np.int64(21) in read, not an int'
    ]
    assert sound(summary)[0]["frames"]["recorded"] == 20


def test_a_thread_that_dies_is_named(posestream, rig, plugins) -> None:
    summary = posestream("run", rig(CAMERA.format(fault="thread:ValueError")), "--json", env=plugins).summary(1)
    assert summary["problems"][0] == 'camera top: its thread "vendor" died of ValueError'
    assert (Path(summary["folder"]) / "logs" / "camera-top.log").read_text().rstrip().endswith("ValueError")


def test_a_camera_that_ends_its_process_is_named(posestream, rig, plugins) -> None:
    summary = posestream("run", rig(CAMERA.format(fault="read:exit")), "--json", env=plugins).summary(1)
    assert summary["problems"][0] == (
        "camera top: exited with status 3 before it had closed its files; "
        'its backend "trouble" or a library must have ended it'
    )
    folder = Path(summary["folder"])
    assert json.loads((folder / "session.json").read_text())["state"] == "complete"
    assert verify_session(folder)["problems"] == []
    assert list(folder.rglob("reserve")) == []


@pytest.mark.parametrize("where", ["start", "read", "stop"])
def test_a_camera_that_hangs_is_named_and_left_behind(posestream, rig, plugins, where) -> None:
    """The run ends at the limit that plug-ins have, and not at the one after which a process is killed."""
    text = f"{CAMERA.format(fault=f'{where}:hang')}timeout_s = 1.0\n"
    summary = posestream("run", rig(text), "--seconds", 3, "--json", env=plugins).summary(1)
    named = f'camera top: its backend "trouble" did not return from {where}'
    assert summary["problems"] == [named]
    assert summary["ended"] == "seconds"
    assert summary["seconds"] < CLOSE_S
    folder = Path(summary["folder"]) if where == "start" else sound(summary)[1]
    late = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [event["name"] for event in late if event["level"] == "warning"] == (["late"] if where != "stop" else [])


def test_a_camera_that_hangs_in_open_is_named(rig, plugins, tmp_path) -> None:
    """The limit is a minute, which a test need not wait."""
    program = (
        "import sys; from posestream.stream import cli; from posestream.stream.run.roles import row_of;"
        "object.__setattr__(row_of('camera'), 'arm_s', 3.0); cli.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "run", str(rig(CAMERA.format(fault="open:hang")))]
    ended = subprocess.run(command, env=plugins, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert 'camera top is not ready; it may be its backend "trouble" that does not return, after 3 s' in ended.stderr


# Engines.


def engine_table(model: Path) -> str:
    return f'[inference]\nmodel = {json.dumps(str(model))}\nengine = "trouble"\n'


@pytest.fixture
def run_engine(posestream, rig, random_model, plugins):
    def run(fault: str, *arguments: object) -> Any:
        path = rig(ARENA.replace("96", "640").replace("64\n", "480\n") + engine_table(random_model))
        return posestream("run", path, *arguments, "--json", env=plugins | {"TROUBLE_ENGINE": fault})

    return run


def named(summary: dict[str, Any], problem: str) -> None:
    """See that a problem is the only one, but for frames that came when inference had ended."""
    first, *others = summary["problems"]
    assert first == problem
    assert all("had neither a pose nor a skip record" in other for other in others)


GIVEN = {
    "shape": f"gave float32 (1, {len(BODYPARTS) - 1}, 3) in run, not float32 (1, {len(BODYPARTS)}, 3)",
    "few": f"gave float32 (0, {len(BODYPARTS)}, 3) in run, not float32 (1, {len(BODYPARTS)}, 3)",
    "dtype": f"gave float64 (1, {len(BODYPARTS)}, 3) in run, not float32 (1, {len(BODYPARTS)}, 3)",
    "none": f"gave a NoneType in run, not float32 (1, {len(BODYPARTS)}, 3)",
    "RuntimeError": "raised RuntimeError in run",
    "SystemExit": "raised SystemExit in run",
}


@pytest.mark.parametrize("fault", GIVEN)
def test_an_engine_that_gives_something_else_is_named(run_engine, fault) -> None:
    summary = run_engine(fault, "--seconds", 30).summary(1)
    named(summary, f'inference: engine "trouble" {GIVEN[fault]}')
    assert summary["ended"] == "failure"
    camera, _ = sound(summary)
    assert camera["poses"]["recorded"] == 5
    assert camera["poses"]["skipped"]["engine-error"] >= 1
    assert camera["poses"]["unexplained"] == 0


@pytest.mark.parametrize("fault", ["nan", "inf", "likelihood"])
def test_poses_that_are_none_are_counted_and_kept_out(run_engine, fault) -> None:
    summary = run_engine(fault, "--seconds", 3).summary(1)
    camera, folder = sound(summary)
    invalid = camera["poses"]["skipped"]["invalid-pose"]
    assert invalid > 10
    text = "poses that are not finite or whose likelihood is not within 0 to 1"
    assert summary["problems"] == [f'camera top: engine "trouble" gave {invalid} {text}']
    assert summary["ended"] == "seconds"
    assert camera["poses"]["unexplained"] == 0
    table = (folder / "top" / "poses.csv").read_text()
    assert {line.partition(",30.5,")[2] for line in table.splitlines()[1:]} == {
        ",".join(["20.25,0.75"] + ["30.5,20.25,0.75"] * (len(BODYPARTS) - 1))
    }
    told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    counts = [event["data"]["count"] for event in told if event["name"] == "invalid-pose"]
    assert counts
    assert sum(counts) <= invalid


def test_an_engine_that_ends_its_process_is_named(run_engine) -> None:
    summary = run_engine("exit", "--seconds", 30).summary(1)
    assert summary["problems"][0] == (
        "inference: exited with status 3 before it had closed its files; "
        'its engine "trouble" or a library must have ended it'
    )
    sound(summary)


def test_an_engine_that_hangs_is_named_and_left_behind(run_engine) -> None:
    summary = run_engine("hang", "--seconds", 60).summary(1)
    named(summary, 'inference: engine "trouble" has not returned from run for 10 s')
    assert summary["ended"] == "failure"
    camera, _ = sound(summary)
    assert camera["poses"]["recorded"] == 5
    assert camera["poses"]["skipped"]["engine-error"] >= 1
    assert camera["poses"]["unexplained"] == 0


def test_an_engine_that_hangs_as_the_run_ends_is_named(run_engine) -> None:
    summary = run_engine("hang", "--seconds", 2).summary(1)
    assert summary["problems"] == ['inference: engine "trouble" has not returned from run for 10 s']
    assert summary["ended"] == "seconds"
    assert summary["seconds"] < CLOSE_S  # after which the process would be killed
    sound(summary)


def test_an_engine_that_exits_while_it_is_prepared_is_named(run_engine, tmp_path) -> None:
    status, _, err = run_engine("prepare").end()
    assert status == 1
    assert 'inference: engine "trouble" raised SystemExit in prepare: 0' in err
    assert not any((tmp_path / "out").iterdir())
