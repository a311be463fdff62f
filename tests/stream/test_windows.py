"""A window that follows the animal in a live run, with the network that comes with the package."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from posestream.acquisition.arena import Arena

from .conftest import ARENA, encode_video

pytestmark = pytest.mark.timeout(180)

MOUSE = """
[cameras.{name}]
backend = "synthetic"
width = 320
height = 240
rate_hz = {rate}
seed = {seed}
buffers = 1000
"""
WINDOW = """
[inference]
model = "openfield-mouse"
precision = "float32"
mode = "{mode}"
batch_size = 4
[inference.window]
sides = [160]
margin_px = 24
check_every = 20
"""


def test_what_a_window_sees_is_what_the_whole_frame_would_say(posestream, rig) -> None:
    summary = posestream(
        "run",
        rig(MOUSE.format(name="top", rate=20.0, seed=3) + WINDOW.format(mode="every-frame")),
        "--seconds",
        2.5,
        "--json",
    ).summary(0)
    camera = summary["cameras"]["top"]
    assert camera["window"]["windows"] > 4 * camera["window"]["whole"]
    assert camera["window"]["windows"] + camera["window"]["whole"] == camera["poses"]["recorded"]
    assert camera["poses"]["unexplained"] == 0
    assert camera["pose_error"]["median_px"] < 2
    # The same frames again, from the video, as a whole
    folder = Path(summary["folder"])
    video = folder / "top" / "video.mp4"
    status, _, err = posestream(
        "analyze", video, "--model", "openfield-mouse", "--precision", "float32", "--output", folder / "whole"
    ).end()
    assert status == 0, err
    whole = pd.read_hdf(next((folder / "whole").glob("*.h5"))).to_numpy().reshape(-1, 4, 3)
    live = pd.read_hdf(next((folder / "top").glob("video*.h5"))).to_numpy().reshape(-1, 4, 3)
    both = (whole[..., 2] > 0.6) & (live[..., 2] > 0.6)
    assert both.sum() > 100
    away = np.hypot(*np.moveaxis(live[..., :2] - whole[..., :2], -1, 0))[both]
    assert np.median(away) < 0.5
    assert np.mean(away < 1.5) > 0.9  # the window, and what the video lost of the frame


def test_two_cameras_in_batches_have_a_window_each(posestream, rig) -> None:
    cameras = MOUSE.format(name="left", rate=4.0, seed=3) + MOUSE.format(name="right", rate=4.0, seed=5)
    run = posestream("run", rig(cameras + WINDOW.format(mode="every-frame")), "--seconds", 6, "--json")
    summary = run.summary(0)
    for camera in summary["cameras"].values():
        assert camera["poses"]["recorded"] == camera["frames"]["captured"]
        assert camera["window"]["windows"] > camera["window"]["whole"]
        assert camera["pose_error"]["median_px"] < 2
    recorded = json.loads((Path(summary["folder"]) / "session.json").read_text())["rig"]["inference"]["window"]
    assert recorded == {"sides": [160], "margin_px": 24, "threshold": 0.6, "check_every": 20}


def test_an_animal_that_is_gone_is_looked_for_in_whole_frames_until_it_comes_back(posestream, rig, tmp_path) -> None:
    arena = Arena(320, 240, 20.0, seed=3)
    frames = np.full((36, 240, 320), 170, np.uint8)
    for number, frame in enumerate(frames):
        if not 12 <= number < 24:  # in between, an empty floor
            arena.render(frame)
        arena.advance()
    video = encode_video(tmp_path / "mouse.mp4", frames[..., None].repeat(3, axis=3), rate=20)
    camera = f"""
[cameras.top]
backend = "file"
path = "{video.as_posix()}"
pace = "inference"
"""
    summary = posestream("run", rig(camera + WINDOW.format(mode="every-frame")), "--json").summary(0)
    window = summary["cameras"]["top"]["window"]
    assert window["windows"] + window["whole"] == summary["cameras"]["top"]["poses"]["recorded"] == 36
    assert 12 < window["whole"] < 24
    found = pd.read_hdf(next((Path(summary["folder"]) / "top").glob("video*.h5"))).to_numpy().reshape(-1, 4, 3)
    sure = np.asarray((found[..., 2] > 0.6).all(axis=1))
    assert sure[:12].all()
    assert not sure[12:24].any()
    assert sure[24:].all()


def test_a_window_that_fits_into_no_frame_is_refused_before_anything_is_recorded(posestream, rig, tmp_path) -> None:
    status, _, err = posestream("run", rig(ARENA + WINDOW.format(mode="freshest")), "--seconds", 1).end()
    assert status == 2
    assert "inference.window: no window of 160 pixels lies in frames of 96x64. Give smaller sides" in err
    assert not list((tmp_path / "out").glob("*"))
