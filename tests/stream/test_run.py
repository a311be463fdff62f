"""The whole thing: real processes, real sockets, a real encoder, a real network's shape."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from posestream.stream.session.verify import verify_session

from .conftest import ARENA, BODYPARTS, children_of, frames_in, free_endpoint, wait_for_processes, write_video

pytestmark = pytest.mark.timeout(180)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def inference(model: Path, **settings: object) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    return f"[inference]\nmodel = {json.dumps(str(model))}\n{lines}"


def test_recording_alone(posestream, rig) -> None:
    running = posestream("run", rig(ARENA), "--seconds", 2, "--json")
    summary = running.summary(0)
    camera, folder = summary["cameras"]["top"], Path(summary["folder"]) / "top"
    assert summary["ended"] == "seconds"
    assert camera["frames"]["captured"] == camera["frames"]["recorded"] == len(rows(folder / "frames.csv")) > 20
    assert frames_in(folder / "video.mp4") == camera["frames"]["recorded"]
    assert camera["rate_hz"]["asked"] == 50
    assert "poses" not in camera
    session = json.loads((Path(summary["folder"]) / "session.json").read_text())
    assert session["state"] == "complete"
    assert session["id"] == summary["session"]
    assert [len(row) for row in rows(folder / "truth.csv")] == [9] * camera["frames"]["captured"]


def test_subscribers_that_were_there_see_every_pose_that_was_published(posestream, rig, random_model) -> None:
    endpoint = free_endpoint()
    network = f'[network]\nposes = "{endpoint}"\n'
    readers = [posestream("subscribe", endpoint, "--json", "--events") for _ in range(2)]
    run = posestream("run", rig(ARENA + inference(random_model) + network), "--seconds", 3, "--json")
    summary = run.summary(0)
    camera, folder = summary["cameras"]["top"], Path(summary["folder"]) / "top"
    written = rows(folder / "poses.csv")
    assert camera["poses"]["recorded"] == len(written) > 5
    for reader in readers:
        status, out, err = reader.end()
        assert status == 0, err
        lines = [json.loads(line) for line in out.splitlines()]
        poses = [line for line in lines if line["type"] == "pose"]
        assert [pose["seq"] for pose in poses] == list(range(len(written)))
        assert [pose["frame_seq"] for pose in poses] == [int(row["frame_seq"]) for row in written]
        assert [keypoint[0] for keypoint in poses[0]["keypoints"]] == list(BODYPARTS)
        assert poses[3]["keypoints"][1][1] == pytest.approx(float(written[3]["leftear_x"]), abs=1e-3)
        skipped = sum(line["data"]["count"] for line in lines if line.get("name") == "skipped")
        assert len(poses) + skipped == camera["frames"]["captured"]
    stamps = ["captured_ns", "sent_ns", "received_ns", "batched_ns", "inferred_ns", "published_ns", "subscribed_ns"]
    for row in written:
        times = [int(row[stamp]) for stamp in stamps]
        assert times == sorted(times)
    assert camera["poses"]["unexplained"] == 0


def test_every_frame_of_every_camera_gets_its_pose(posestream, rig, random_model, tmp_path) -> None:
    for name, frames in (("a", 40), ("b", 25)):
        write_video(tmp_path / f"{name}.mp4", frames)
    cameras = "".join(
        f'[cameras.{name}]\nbackend = "file"\npath = "{name}.mp4"\npace = "inference"\n' for name in ("a", "b")
    )
    text = cameras + inference(random_model, mode="every-frame", batch_size=4)
    summary = posestream("run", rig(text), "--json").summary(0)
    assert summary["ended"] == "cameras ended"
    scorer = "DLC_resnet50_randomNov22shuffle1_1"
    for name, frames in (("a", 40), ("b", 25)):
        camera, folder = summary["cameras"][name], Path(summary["folder"]) / name
        assert camera["frames"]["recorded"] == camera["poses"]["recorded"] == frames
        assert camera["poses"]["skipped"] == {}
        assert frames_in(folder / "video.mp4") == frames
        table = pd.DataFrame(pd.read_hdf(folder / f"video{scorer}.h5"))
        assert table.shape == (frames, 12)
        assert not table.isna().any(axis=None)
        poses = rows(folder / "poses.csv")
        assert [int(row["frame_seq"]) for row in poses] == list(range(frames))
        np.testing.assert_allclose(
            table[scorer, "tailbase", "likelihood"], [float(row["tailbase_likelihood"]) for row in poses]
        )
        times = [int(row["pts_us"]) for row in rows(folder / "frames.csv")]
        np.testing.assert_allclose(np.diff(times), 1e6 / 30, atol=2)  # those of the file, not of the playing
    assert any(int(row["batch_size"]) > 1 for row in rows(Path(summary["folder"]) / "a" / "poses.csv"))


def test_ctrl_c_ends_cleanly(posestream, rig, random_model) -> None:
    run = posestream("run", rig(ARENA + inference(random_model)), "--json")
    run.until_rows(30, "top/frames.csv")
    run.until_rows(2, "top/poses.csv")
    run.interrupt()
    summary = run.summary(0)
    camera = summary["cameras"]["top"]
    assert summary["ended"] == "interrupted"
    assert camera["frames"]["captured"] == camera["frames"]["recorded"] > 0
    assert camera["poses"]["unexplained"] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("victim", "title"),
    [("acquisition:top", "camera top"), ("inference", "inference"), ("stream", "the pose recorder")],
)
def test_whatever_dies_the_recording_is_valid_and_the_report_says_who(
    posestream, rig, random_model, victim, title
) -> None:
    import os
    import signal

    run = posestream("run", rig(ARENA + inference(random_model)), "--json")
    run.until_rows(30, "top/frames.csv")
    run.until_rows(2, "top/poses.csv")
    processes = children_of(run.process.pid)
    os.kill(processes[victim], signal.SIGKILL)
    summary = run.summary(1)
    assert summary["ended"] == "failure"
    assert any(problem == f"{title}: was killed (SIGKILL)" for problem in summary["problems"])
    camera, folder = summary["cameras"]["top"], Path(summary["folder"]) / "top"
    assert frames_in(folder / "video.mp4") >= camera["frames"]["recorded"] - 1
    assert camera["frames"]["recorded"] > 0
    assert wait_for_processes(list(processes.values())) == []
    assert json.loads((Path(summary["folder"]) / "session.json").read_text())["state"] == "complete"
    assert verify_session(Path(summary["folder"]))["problems"] == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_when_the_supervisor_dies_the_others_close_their_files(posestream, rig, random_model, tmp_path) -> None:
    run = posestream("run", rig(ARENA + inference(random_model)), "--json")
    run.until_rows(30, "top/frames.csv")
    run.until_rows(2, "top/poses.csv")
    processes = children_of(run.process.pid)
    run.process.kill()
    assert wait_for_processes(list(processes.values())) == []
    [folder] = (tmp_path / "out").iterdir()
    recorded = [row for row in rows(folder / "top" / "frames.csv") if row["state"] == "recorded"]
    assert frames_in(folder / "top" / "video.mp4") == len(recorded) > 0
    assert json.loads((folder / "session.json").read_text())["state"] == "recording"
    assert rows(folder / "top" / "poses.csv")


def test_a_camera_that_is_lost_is_reported_and_what_was_recorded_stays_valid(posestream, rig, tmp_path) -> None:
    video = write_video(tmp_path / "damaged.mp4", 90)
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    video.write_bytes(data)
    text = '[cameras.top]\nbackend = "file"\npath = "damaged.mp4"\npace = 200.0\n'
    summary = posestream("run", rig(text), "--json").summary(1)
    [problem] = summary["problems"]
    assert "camera top" in problem
    assert "damaged.mp4" in problem
    recorded = summary["cameras"]["top"]["frames"]["recorded"]
    assert 0 < recorded < 90
    assert frames_in(Path(summary["folder"]) / "top" / "video.mp4") == recorded


@pytest.mark.skipif(sys.platform == "win32", reason="limits a file's size by a POSIX call")
def test_a_full_disk_is_reported_at_once_and_what_was_recorded_stays_valid(posestream, rig) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_500_000, 4_500_000))

    arena = ARENA.replace("96", "320").replace("64", "240") + "noise = 20.0\n[recording]\ncrf = 5\n"
    summary = posestream("run", rig(arena), "--seconds", 60, "--json", preexec_fn=limit).summary(1)
    assert summary["ended"] == "failure"
    assert summary["seconds"] < 30
    assert any("video.mp4" in problem for problem in summary["problems"])
    camera = summary["cameras"]["top"]
    assert camera["frames"]["recorded"] > 0
    assert frames_in(Path(summary["folder"]) / "top" / "video.mp4") >= camera["frames"]["recorded"] - 2


def test_frames_that_the_device_loses_are_listed_and_the_status_says_so(posestream, rig) -> None:
    summary = posestream("run", rig(ARENA + "drop = 0.1\nseed = 1\n"), "--seconds", 2, "--json").summary(1)
    camera, folder = summary["cameras"]["top"], Path(summary["folder"])
    table = rows(folder / "top" / "frames.csv")
    assert [int(row["device_id"]) for row in table] == list(
        range(int(table[0]["device_id"]), int(table[-1]["device_id"]) + 1)
    )
    lost = [row for row in table if row["state"] == "lost-camera"]
    assert camera["frames"]["lost-camera"] == len(lost) > 0
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert sum(event["data"]["count"] for event in events if event["name"] == "lost-camera") == len(lost)


BAD_RIGS = {
    "no cameras": ("[cameras]\n", "no camera; add a table"),
    "unknown key": (ARENA + "fsp = 3\n", "cameras.top.fsp: unknown key"),
    "near match": (ARENA + "heigth = 3\n", 'did you mean "height"?'),
    "wrong type": (ARENA.replace("50.0", '"fast"'), 'cameras.top.rate_hz = "fast": must be a number'),
    "too low a quality": (ARENA + "[recording]\ncrf = 60\n", "recording.crf = 60: libx264 takes 0 to 51"),
    "unknown table": (ARENA + "[recordign]\ncrf = 3\n", 'recordign: unknown key (did you mean "recording"?)'),
    "no backend": ('[cameras.top]\nbackend = "sythetic"\n', 'did you mean "synthetic"?'),
    "no such video": ('[cameras.top]\nbackend = "file"\npath = "gone.mp4"\n', "gone.mp4"),
    "unreadable video": ('[cameras.top]\nbackend = "file"\npath = "rig.toml"\n', "rig.toml"),
    "no such camera": ('[cameras.top]\nbackend = "opencv"\ndevice = 97\n', "97"),
    "no such encoder": (ARENA + '[recording]\ncodec = "libx999"\n', 'no encoder "libx999"'),
    "no such model": (ARENA + '[inference]\nmodel = "gone"\n', "gone"),
    "remote without address": (ARENA + '[inference]\nmodel = "x"\nremote = true\n', "cameras.top.endpoint: missing"),
    "not a model": (ARENA + '[inference]\nmodel = "."\n', "not a model"),
    "open to the world": (
        ARENA + '[network]\nposes = "tcp://192.0.2.1:5999"\n[inference]\nmodel = "."\n',
        "posestream keys",
    ),
}


@pytest.mark.parametrize("case", BAD_RIGS)
def test_bad_input_is_named_before_anything_is_recorded(posestream, rig, tmp_path, case) -> None:
    text, expected = BAD_RIGS[case]
    status, out, err = posestream("run", rig(text), "--seconds", 1).end()
    assert status == 2, err
    assert expected in err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_keys_of_every_camera_are_checked_before_any_is_opened(posestream, rig) -> None:
    side = ARENA.replace("top", "side").replace("rate_hz", "rate")
    status, _, err = posestream("run", rig(f"{ARENA}{side}"), "--seconds", 1).end()
    assert status == 2
    assert 'cameras.side.rate: unknown key (did you mean "rate_hz"?)' in err
    assert "opening cameras" not in err


def test_a_model_that_is_damaged_is_named(posestream, rig, random_model, tmp_path) -> None:
    import shutil

    shutil.copytree(random_model, tmp_path / "damaged")
    with (tmp_path / "damaged" / "weights.safetensors").open("r+b") as file:
        file.truncate(1_000_000)
    status, _, err = posestream("run", rig(ARENA + inference(tmp_path / "damaged")), "--seconds", 1).end()
    assert status == 2, err
    assert "weights.safetensors" in err


def test_too_little_space_and_an_unwritable_output_are_refused(posestream, rig, tmp_path) -> None:
    path = rig(ARENA)
    path.write_text(path.read_text().replace("0.01", "1e9"))
    status, _, err = posestream("run", path).end()
    assert status == 2
    assert "GiB free" in err
    (tmp_path / "file").write_text("")
    status, _, err = posestream("run", path, "--output", tmp_path / "file" / "out").end()
    assert status == 2
    assert "can't be written to" in err


def test_an_address_in_use_is_refused(posestream, rig, random_model, context) -> None:
    import zmq

    other = context.socket(zmq.XPUB)
    port = other.bind_to_random_port("tcp://127.0.0.1")
    text = ARENA + inference(random_model) + f'[network]\nposes = "tcp://127.0.0.1:{port}"\n'
    status, _, err = posestream("run", rig(text), "--seconds", 1).end()
    other.close()
    assert status == 2
    assert f"tcp://127.0.0.1:{port} is in use" in err


def test_the_demo_sees_the_mouse_where_it_is(posestream) -> None:
    out = posestream("demo", "--seconds", 4).end()
    assert out[0] == 0
    assert "error to the truth" in out[1]
    folder = Path(out[1].rsplit("session: ", 1)[1].strip())
    summary = json.loads((folder / "summary.json").read_text())["cameras"]["arena"]
    error = summary["pose_error"]
    assert error["poses"] == summary["poses"]["recorded"] >= 3
    assert error["median_px"] < 2
    assert error["likelihood"] > 0.9
    assert set(error["parts"]) == {"snout", "leftear", "rightear", "tailbase"}


def test_the_demo_runs_with_any_model(posestream, random_model, tmp_path) -> None:
    summary = posestream("demo", "--seconds", 2, "--model", random_model, "--json").summary(0)
    assert summary["cameras"]["arena"]["poses"]["recorded"] > 0
    assert Path(summary["folder"]).parent == tmp_path / "recordings"


def test_a_run_too_short_for_a_pose_is_still_a_session(posestream, rig, random_model) -> None:
    slow = ARENA.replace("50.0", "0.5")
    summary = posestream("run", rig(slow + inference(random_model)), "--seconds", 0.2, "--json").summary(0)
    assert summary["cameras"]["top"]["poses"]["unexplained"] == 0
