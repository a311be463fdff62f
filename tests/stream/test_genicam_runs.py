"""The example rigs of industrial cameras, run as they are on the SDKs' emulators."""

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from posestream.stream.verify import verify_session

from .conftest import frames_in

pytestmark = pytest.mark.timeout(180)

EXAMPLES = Path(__file__).parents[2] / "examples"
needs_pylon = pytest.mark.skipif(find_spec("pypylon") is None, reason="pypylon is not installed: the extra pylon")
needs_harvesters = pytest.mark.skipif(
    find_spec("harvesters") is None, reason="harvesters is not installed: the extra genicam"
)


def first_ns(folder: Path) -> int:
    with (folder / "frames.csv").open() as file:
        return int(next(csv.DictReader(file))["captured_ns"])


@needs_pylon
def test_two_basler_cameras_at_once_with_all_frames_accounted_for(posestream, monkeypatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "2")
    summary = posestream("run", EXAMPLES / "pylon.toml", "--seconds", 3, "--json").summary(0)
    session = Path(summary["folder"])
    assert verify_session(session)["problems"] == []
    details = json.loads((session / "session.json").read_text())["cameras"]
    for name, least in (("top", 75), ("side", 35)):
        frames = summary["cameras"][name]["frames"]
        assert frames["captured"] == frames["recorded"] == frames_in(session / name / "video.mp4") >= least
        assert frames["lost_camera"] == 0
    assert details["top"]["settings"]["offset_x"] == 64
    assert details["top"]["settings"]["exposure_us"] == 5000
    assert details["side"]["settings"]["trigger.source"] == "software"


@needs_pylon
def test_incomplete_buffers_are_rows_and_events(posestream, rig, monkeypatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    text = """
        [cameras.top]
        backend = "pylon"
        width = 64
        height = 64
        rate_hz = 50.0
        nodes = { ForceFailedBufferCount = 4, ForceFailedBuffer = true, Gain = 6.001 }
    """
    summary = posestream("run", rig(text), "--seconds", 2, "--json").summary(0)
    session = Path(summary["folder"])
    assert verify_session(session)["problems"] == []
    print(summary, (session / "events.jsonl").read_text())


@needs_pylon
def test_a_leader_starts_when_its_follower_is_running(posestream, rig, monkeypatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "2")
    table = 'backend = "pylon"\nwidth = 64\nheight = 64\nrate_hz = 50.0'
    text = f"""
        [cameras.leader]\n{table}\nserial = "0815-0000"
        [cameras.follower]\n{table}\nserial = "0815-0001"
        trigger = {{ source = "software", leader = "leader" }}
    """
    session = Path(posestream("run", rig(text), "--seconds", 2, "--json").summary(0)["folder"])
    assert first_ns(session / "follower") < first_ns(session / "leader")


@needs_harvesters
def test_three_cameras_behind_a_producer(posestream, monkeypatch) -> None:
    spec = find_spec("genicam")
    assert spec is not None
    assert spec.origin is not None
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(Path(spec.origin).parent))
    summary = posestream("run", EXAMPLES / "genicam.toml", "--seconds", 3, "--json").summary(0)
    session = Path(summary["folder"])
    assert verify_session(session)["problems"] == []
    assert set(summary["cameras"]) == {"red", "green", "blue"}
    for name in summary["cameras"]:
        frames = summary["cameras"][name]["frames"]
        assert frames["captured"] == frames["recorded"] == frames_in(session / name / "video.mp4") >= 40
