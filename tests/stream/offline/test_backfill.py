"""The poses that live inference skipped, computed from the video: the program as people call it."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

from posestream.stream.disk.lock import InUseError, session_lock
from posestream.stream.offline.backfill import Backfill, BackfillError
from posestream.stream.session.recover import recover_session
from posestream.stream.session.verify import verify_session

from ...support.networks import random_bundle
from ...support.waiting import until
from ..conftest import wait_for_processes, write_video

pytestmark = pytest.mark.timeout(180)
FRAMES = 60
LONG = 5 * FRAMES
"""So many that a backfill is still at work when it is interrupted."""


def write_rig(rig: Callable[[str], Path], model: Path, settings: str = "") -> Path:
    """A run that skips frames, as no core computes 300 poses a second."""
    video = '[cameras.top]\nbackend = "file"\npath = "clip.mp4"\npace = 300.0\n'
    settings += 'engine = "openvino"\nprecision = "float32"\nthreads = 1\n'
    return rig(f'{video}[inference]\nmodel = "{model}"\n{settings}[recording]\nkeyframe_interval_s = 0.1\ncrf = 1\n')


@pytest.fixture(scope="module")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-50 of random weights: slow enough that frames are skipped, and that a backfill can be interrupted."""
    folder = tmp_path_factory.mktemp("models") / "random"
    random_bundle().save(folder, "float16")
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, random_model: Path) -> Path:
    """A session of a run that skipped most frames, closed as a run closes it."""
    import subprocess

    from ..conftest import POSESTREAM, free_endpoint

    work = tmp_path_factory.mktemp("recorded")
    write_video(work / "clip.mp4", FRAMES)

    def rig(text: str) -> Path:
        head = f'[session]\noutput = "out"\nmin_free_gib = 0.01\n[network]\nposes = "{free_endpoint()}"\n'
        (work / "rig.toml").write_text(head + text)
        return work / "rig.toml"

    command = [POSESTREAM, "run", str(write_rig(rig, random_model)), "--json"]
    run = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=120, check=True)
    return Path(json.loads(run.stdout)["folder"])


@pytest.fixture
def session(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "session"))


def states(session: Path) -> dict[str, int]:
    return {
        str(state): int(n) for state, n in pd.read_csv(session / "top" / "frames.csv")["pose"].value_counts().items()
    }


def change(session: Path, **entries: object) -> int:
    path = session / "session.json"
    return path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_every_frame_gets_a_pose_once(posestream, session) -> None:
    live = pd.read_csv(session / "top" / "poses.csv")
    assert states(session) == {"live": len(live), "none": FRAMES - len(live)}
    poses = (session / "top" / "poses.csv").read_bytes()
    status, out, err = posestream("backfill", session, "--json").end()
    assert status == 0, err
    result = json.loads(out)
    assert result["problems"] == []
    assert result["backfilled"] == FRAMES - len(live)
    assert states(session) == {"live": len(live), "backfilled": FRAMES - len(live)}
    assert (session / "top" / "poses.csv").read_bytes() == poses
    assert verify_session(session)["problems"] == []
    [table] = (session / "top").glob("video*.h5")
    assert pd.DataFrame(pd.read_hdf(table)).notna().all(axis=None)
    summary = json.loads((session / "summary.json").read_text())
    assert summary["cameras"]["top"]["pose_states"] == {
        "live": len(live),
        "backfilled": FRAMES - len(live),
        "none": 0,
    }
    record = json.loads((session / "session.json").read_text())
    assert (
        record["backfill"]["model_sha256"] == record["inference"]["model_sha256"] == summary["backfill"]["model_sha256"]
    )
    before = {path: path.stat().st_mtime_ns for path in session.rglob("*")}
    status, out, _ = posestream("backfill", session).end()
    assert status == 0
    assert "nothing to do" in out
    assert {path: path.stat().st_mtime_ns for path in session.rglob("*")} == before


def test_what_was_cut_off_goes_on_and_live_poses_come_again(session: Path) -> None:
    """Poses computed from the video are those that were live, but for what compression changed in the pixels."""
    top = session / "top"
    (session / "manifest.json").unlink()  # what is changed here is as an older posestream may have left it
    change(session, manifest=None)
    live = pd.read_csv(top / "poses.csv")
    columns = [str(name) for name in live if str(name).endswith(("_x", "_y", "_likelihood"))]
    kept = live.iloc[::2]
    kept.to_csv(top / "poses.csv", index=False)
    lost = live.iloc[1::2]["frame_seq"]
    with (top / "skipped.csv").open("a") as skipped:
        skipped.writelines(f"{seq},{seq},1,interrupted\n" for seq in lost)
    backfilled = top / "backfilled.csv"
    backfilled.write_text(",".join(["frame_seq", "video_frame", *columns]) + "\n" + "0,0,1,")  # killed in a row
    change(session, backfill={"state": "running"})
    assert any("posestream backfill" in problem for problem in verify_session(session)["problems"])
    assert any("posestream backfill goes on" in text for text in recover_session(session))
    assert verify_session(session)["problems"] == []
    assert Backfill(session, batch_size=3).run()["without_pose"] == 0
    assert verify_session(session)["problems"] == []
    computed = pd.read_csv(backfilled).set_index("frame_seq").loc[lost, columns].to_numpy()
    # The median, for a network with random weights has peaks that nearly tie.
    assert (
        np.median(np.abs(computed - live.iloc[1::2][columns].to_numpy())) < 2
    )  # the video is not to the last bit what was filmed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_backfill_goes_on_behind_its_last_row(posestream, session) -> None:
    running = posestream("backfill", session, "--batch-size", 1)
    table = session / "top" / "backfilled.csv"
    until(lambda: table.exists() and table.read_bytes().count(b"\n") > 4, meanwhile=running.check)
    running.process.kill()
    running.end()
    rows = (session / "top" / "backfilled.csv").read_bytes()
    assert len(pd.read_csv(session / "top" / "frames.csv")) == FRAMES
    status, _, err = posestream("backfill", session).end()
    assert status == 0, err
    assert (session / "top" / "backfilled.csv").read_bytes().startswith(rows[: rows.rfind(b"\n") + 1])
    assert verify_session(session)["problems"] == []
    assert "none" not in states(session)


def test_a_backfill_that_is_stopped_keeps_what_was_computed(session: Path) -> None:
    before = states(session)
    work = Backfill(session, batch_size=4, show=lambda _: work.stop())
    result = work.run()
    assert result["stopped"]
    assert result["backfilled"] == 4
    assert result["without_pose"] == before["none"] - 4
    assert states(session) == before | {"backfilled": 4, "none": before["none"] - 4}
    assert verify_session(session)["problems"] == []


def test_one_at_a_time(session: Path) -> None:
    with session_lock(session), pytest.raises(InUseError, match="another posestream"):
        Backfill(session).run()
    assert not (session / "session.lock").exists()


def is_backfill(word: str) -> bool:
    return word.endswith("backfill_process")


def test_what_a_damaged_video_has_left_is_backfilled_and_the_rest_is_named(session: Path) -> None:
    video = session / "top" / "video.mp4"
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    video.write_bytes(data)
    before = states(session)
    result = Backfill(session).run()
    assert 0 < result["without_pose"] < before["none"]
    assert result["backfilled"] == before["none"] - result["without_pose"]
    changed, problem = result["problems"]
    assert changed == "top/video.mp4 differs from the manifest: it was changed"
    assert f"camera top: {result['without_pose']} frames of the video can't be decoded (" in problem


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "still open": (lambda session: change(session, state="recording"), "posestream recover"),
    "without a network": (lambda session: change(session, inference=None), "without a network"),
    "another network": (lambda session: set_inference(session, model_sha256="0" * 64), "--model"),
    "model gone": (lambda session: set_inference(session, model_path="/gone/model"), "name it with --model"),
    "other body parts": (
        lambda session: set_inference(session, model=inference(session)["model"] | {"bodyparts": ["nose"]}),
        "the session's poses are of nose",
    ),
    "begun with another": (
        lambda session: (
            (session / "top" / "backfilled.csv").write_text("frame_seq,video_frame,snout_x\n")
            and change(session, backfill={"state": "partial", "model_sha256": "0" * 64, "model_path": "/old"})
        ),
        "/old",
    ),
}


def inference(session: Path) -> dict:
    found: dict[str, Any] = json.loads((session / "session.json").read_text())["inference"]
    return found


def set_inference(session: Path, **entries: object) -> None:
    change(session, inference=inference(session) | entries)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_a_sentence(session: Path, case: str) -> None:
    harm, text = REFUSED[case]
    harm(session)
    before = {path: path.read_bytes() for path in session.rglob("*") if path.is_file()}
    with pytest.raises(BackfillError, match=text):
        Backfill(session).run()
    assert {path: path.read_bytes() for path in session.rglob("*") if path.is_file()} == before


def test_wrong_use_of_the_command(posestream, session, tmp_path, random_model) -> None:
    for arguments in ((tmp_path,), (session, "--camera", "side"), (session, "--model", tmp_path)):
        status, out, err = posestream("backfill", *arguments).end()
        assert status == 2
        assert "error: " in err
        assert out == ""


def test_another_model_that_was_named_is_noted(session: Path, random_model: Path) -> None:
    set_inference(session, model_sha256="0" * 64)
    assert Backfill(session, model=random_model).run()["without_pose"] == 0
    assert json.loads((session / "session.json").read_text())["backfill"]["model_path"] == str(random_model)


def test_a_run_backfills_at_its_end(posestream, rig, random_model, tmp_path) -> None:
    write_video(tmp_path / "clip.mp4", FRAMES)
    run = posestream("run", write_rig(rig, random_model, "backfill = true\n"), "--json")
    run.until("backfilling")
    summary = run.summary(0)
    counts = summary["cameras"]["top"]["pose_states"]
    assert counts["none"] == 0
    assert counts["live"] + counts["backfilled"] == FRAMES
    assert counts["backfilled"] > 0


def test_ctrl_c_skips_the_backfill_of_a_run(posestream, rig, random_model, tmp_path) -> None:
    write_video(tmp_path / "clip.mp4", LONG)
    run = posestream("run", write_rig(rig, random_model, "backfill = true\n"), "--json")
    run.until("backfilling")
    run.interrupt()
    summary = run.summary(0)
    assert json.loads((Path(summary["folder"]) / "session.json").read_text())["state"] == "complete"
    assert summary["cameras"]["top"]["pose_states"]["live"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_backfill_that_is_killed_is_reported_and_the_session_stays(posestream, rig, random_model, tmp_path) -> None:
    write_video(tmp_path / "clip.mp4", LONG)
    run = posestream("run", write_rig(rig, random_model, "backfill = true\n"), "--json")
    run.until("backfilling")

    def backfills() -> list[psutil.Process]:
        children = psutil.Process(run.process.pid).children()
        return [child for child in children if any(map(is_backfill, child.cmdline()))]

    pid = until(backfills, meanwhile=run.check)[0].pid
    os.kill(pid, signal.SIGKILL)
    summary = run.summary(1)
    assert summary["problems"] == ["the backfill: was killed (SIGKILL)"]
    assert wait_for_processes([pid]) == []
    assert posestream("backfill", summary["folder"]).end()[0] == 0
    assert verify_session(Path(summary["folder"]))["problems"] == []
