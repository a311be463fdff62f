"""A view through the whole program: one camera, two regions, one video, and poses in both frames."""

import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from posestream.stream.session.record import sensor_patches
from posestream.stream.wire.sensor import to_frame, to_sensor

from .conftest import free_endpoint

EXAMPLE = Path(__file__).parents[2] / "examples" / "mirror.toml"
VIEW = """
[cameras.top.view]
join = "horizontal"
rotate = 90
regions = [
  { x = 8, y = 0, width = 40, height = 64 },
  { x = 48, y = 0, width = 40, height = 64, flip = "horizontal" },
]
mask = { polygons = [[[-1, -1], [80, -1], [80, 39], [-1, 39]]], value = 255 }
"""
ARENA = """
[cameras.top]
backend = "synthetic"
width = 96
height = 64
rate_hz = 50.0
buffers = 1000  # a busy machine loses nothing here
"""


def pictures(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="gray8") for frame in container.decode(video=0)]


def test_the_mirror_example_runs_as_it_stands(posestream, tmp_path) -> None:
    run = posestream(
        *("run", EXAMPLE, "--seconds", 2, "--output", tmp_path / "out", "--json"),
        *("--set", "cameras.treadmill.buffers=1000"),
    )
    summary = run.summary(0)  # and verify proves it
    folder = Path(summary["folder"]) / "treadmill"
    assert summary["cameras"]["treadmill"]["size"] == {"width": 396, "height": 406, "pixel_format": "gray8"}
    shown = pictures(folder / "video.mp4")
    assert {picture.shape for picture in shown} == {(406, 396)}
    truth = pd.read_csv(folder / "truth.csv").to_numpy()[:, 1:].reshape(-1, 2)
    inside = truth[~np.isnan(truth).any(axis=1)]
    assert len(inside) > 0
    assert (inside >= -0.5).all()
    assert (inside <= [395.5, 405.5]).all()
    patches = sensor_patches(Path(summary["folder"]), "treadmill")
    np.testing.assert_allclose(to_frame(patches, to_sensor(patches, inside)), inside, atol=1e-9)
    np.testing.assert_array_equal(to_sensor(patches, [[0, 0], [0, 405]]), [[122, 20], [122, 257]])


def test_the_pose_is_told_in_both_frames_and_the_tables_agree(posestream, rig, random_model) -> None:
    endpoint = free_endpoint()
    text = ARENA + VIEW + f"[inference]\nmodel = {json.dumps(str(random_model))}\n"
    reader = posestream("subscribe", endpoint, "--json")
    run = posestream("run", rig(text + f'[network]\nposes = "{endpoint}"\n'), "--seconds", 3, "--json")
    summary = run.summary(0)
    session = Path(summary["folder"])
    assert summary["cameras"]["top"]["size"] == {"width": 64, "height": 80, "pixel_format": "gray8"}
    picture = pictures(session / "top" / "video.mp4")[-1]
    assert picture[45:].min() > 240  # the mask, but for what the encoder makes of it
    assert picture[:35].mean() < 240
    patches = sensor_patches(session, "top")
    # After the rotation the first region is the upper one; its first row is the camera's lowest.
    np.testing.assert_array_equal(to_sensor(patches, [[0, 0], [63, 0], [0, 40]]), [[8, 63], [8, 0], [87, 63]])
    written = pd.read_csv(session / "top" / "poses.csv")
    status, out, err = reader.end()
    assert status == 0, err
    poses = [json.loads(line) for line in out.splitlines()]
    assert len(poses) == len(written) > 5
    for pose, (_, row) in zip(poses, written.iterrows(), strict=True):
        assert pose["sensor"] is True
        for (name, x, y, _), (same, *on_sensor) in zip(pose["keypoints"], pose["sensor_keypoints"], strict=True):
            assert same == name
            assert (x, y) == pytest.approx((row[f"{name}_x"], row[f"{name}_y"]), abs=1e-3)
            np.testing.assert_allclose(to_sensor(patches, [x, y]), on_sensor, atol=1e-3)


def test_a_view_that_does_not_fit_is_wrong_use(posestream, rig) -> None:
    text = ARENA + "[cameras.top.view]\nregions = [{ x = 60, y = 0, width = 40, height = 64 }]\n"
    status, _, err = posestream("run", rig(text), "--seconds", 1).end()
    assert status == 2
    assert "cameras.top.view.regions.0: 40x64 at x 60, y 0" in err
    assert "96x64" in err
    assert "Traceback" not in err
