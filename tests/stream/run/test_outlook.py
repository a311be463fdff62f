"""What is said before a recording of the poses to expect."""

import json
from pathlib import Path

import pytest

from posestream.stream.rig import InferenceTable, WindowTable
from posestream.stream.run.outlook import expected_poses
from posestream.stream.wire.details import Expected, MeasuredNetwork
from posestream.stream.wire.messages import StreamInfo


def stream(camera: str, rate_hz: float | None = 100.0) -> StreamInfo:
    return StreamInfo(camera=camera, endpoint="", height=480, width=640, pixel_format="gray8", rate_hz=rate_hz)


def details(window: tuple[int, int] | None = None, precision: str = "bfloat16", **frame_ms: float) -> MeasuredNetwork:
    expected = {name: Expected(frame_ms=ms, whole_ms=ms, batch_size=1, window=window) for name, ms in frame_ms.items()}
    return MeasuredNetwork(name="mouse", engine="openvino", precision=precision, expected=expected)


def test_a_network_that_keeps_up() -> None:
    outlook = expected_poses(details(top=5.0), [stream("top")], InferenceTable(model="m"))
    assert outlook.text == (
        "expect about 100 poses/s: mouse takes up to 200 frames/s here "
        "(openvino bfloat16, 640x480, one frame at a time), the camera gives 100"
    )
    assert outlook.advice == ""
    assert outlook.load == pytest.approx(0.5)


def test_a_network_that_does_not_keep_up_says_what_to_change() -> None:
    outlook = expected_poses(details(top=40.0), [stream("top")], InferenceTable(model="m", mode="every-frame"))
    assert outlook.poses_per_second == {"top": pytest.approx(25.0)}
    assert "expect about 25 poses/s" in outlook.text
    assert outlook.advice.startswith("about 25% of the frames")
    for way in (
        "smaller frame",
        "[inference.window]",
        "int8",
        "freshest",
        "smaller network",
    ):
        assert way in outlook.advice
    used = InferenceTable(model="m", window=WindowTable(sides=(256,)), backfill=True)
    outlook = expected_poses(details((256, 256), "int8", top=40.0), [stream("top")], used)
    assert "windows of 256x256" in outlook.text
    assert "smaller sides" in outlook.advice
    for way in ("posestream model optimize", "freshest", "backfill"):
        assert way not in outlook.advice


def test_cameras_share_the_network() -> None:
    two = [stream("top"), stream("side", 50.0)]
    outlook = expected_poses(details(top=8.0, side=8.0), two, InferenceTable(model="m"))
    assert outlook.load == pytest.approx(1.2)
    assert outlook.poses_per_second == {"top": pytest.approx(83.3, abs=0.1), "side": pytest.approx(41.7, abs=0.1)}
    assert "the cameras give 150" in outlook.text
    tight = expected_poses(details(top=6.0, side=6.0), two, InferenceTable(model="m"))
    assert "that is tight" in tight.advice


def test_a_camera_without_a_rate_of_its_own() -> None:
    outlook = expected_poses(details(top=10.0), [stream("top", None)], InferenceTable(model="m"))
    assert outlook.text.startswith("expect about 100 poses/s")
    assert "the camera gives" not in outlook.text
    assert (outlook.load, outlook.advice) == (None, "")


def test_the_bundled_network_does_what_was_expected(posestream, rig) -> None:
    """In a real run; the bounds only tell milliseconds from seconds, and a frame from a batch, on a busy machine."""
    text = '[cameras.top]\nbackend = "synthetic"\nwidth = 320\nheight = 240\n[inference]\nmodel = "openfield-mouse"\n'
    running = posestream("run", rig(text), "--seconds", 4, "--json")
    status, out, err = running.end(170)
    assert status == 0, err
    assert "expect about" in err
    assert "openfield-mouse takes up to" in err
    summary = json.loads(out)
    inference = json.loads((Path(summary["folder"]) / "session.json").read_text())["inference"]
    expected = inference["expected"]["top"]
    assert (expected["batch_size"], expected["window"]) == (1, None)
    assert 0.1 < summary["cameras"]["top"]["latency_ms"]["inference"]["p50"] / expected["frame_ms"] < 10
