"""The example rigs of industrial cameras, run as they are on the SDKs' emulators."""

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from posestream.stream.session.verify import verify_session

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
    for name in ("top", "side"):
        frames = summary["cameras"][name]["frames"]
        assert frames["captured"] == frames["recorded"] == frames_in(session / name / "video.mp4") > 10
        assert frames["lost-camera"] == 0
    assert details["top"]["settings"]["offset_x"] == 64
    assert details["top"]["settings"]["exposure_us"] == 5000
    assert details["side"]["settings"]["trigger.source"] == "software"


@needs_pylon
def test_what_a_camera_took_otherwise_is_told_and_recorded(posestream, rig, monkeypatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    text = '[cameras.top]\nbackend = "pylon"\nwidth = 64\nheight = 64\nexposure_us = 100.4'
    session = Path(posestream("run", rig(text), "--seconds", 1, "--json").summary(0)["folder"])
    details = json.loads((session / "session.json").read_text())["cameras"]["top"]
    sentence = "exposure_us was set to 100.4, and ExposureTime is 100"
    assert details["warnings"] == [sentence]
    assert details["settings"]["exposure_us"] == 100
    events = [json.loads(line) for line in (session / "events.jsonl").read_text().splitlines()]
    assert [event["text"] for event in events if event["name"] == "settings"] == [f"camera top: {sentence}"]


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
