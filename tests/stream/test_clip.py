"""A network that a lab trained, on a real mouse, through the whole program."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest

from .conftest import frames_in, free_endpoint

EXAMPLES = Path(__file__).parents[2] / "examples"
SCORER = "DLC_resnet50_apollo_implantNov1shuffle1_1030000"
EXCERPT = [*range(24), *range(140, 160), *range(440, 460)]
# frame of the clip: x, y in pixels, likelihood, as DeepLabCut 2.3.11 gives them (benchmarks/deeplabcut_reference.py)
DEEPLABCUT = {0: (96.6001, 130.9568, 0.9927), 150: (577.8264, 104.6214, 0.9981), 450: (257.7305, 430.3312, 0.9993)}


@pytest.fixture(scope="module")
def excerpt(openfield_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the clip's frames, pixel for pixel: all 548 would take a small machine minutes."""
    path = tmp_path_factory.mktemp("clip") / "excerpt.mp4"
    with av.open(str(openfield_clip)) as clip, av.open(str(path), "w") as written:
        stream: Any = written.add_stream("libx264", rate=30, options={"qp": "0", "preset": "ultrafast"})
        source = clip.streams.video[0].codec_context
        stream.width, stream.height, stream.pix_fmt = source.width, source.height, source.pix_fmt
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, name, getattr(source, name))
        for number, frame in enumerate(clip.decode(video=0)):
            if number in EXCERPT:
                frame.pts = None
                written.mux(stream.encode(frame))
            if number == EXCERPT[-1]:
                break
        written.mux(stream.encode())
    return path


def arguments(example: str, clip: Path, model: Path, endpoint: str, output: Path) -> list[object]:
    path = f"cameras.top.path={json.dumps(str(clip))}"
    return [
        "run",
        EXAMPLES / example,
        "--set",
        path,
        "--set",
        f"network.poses={endpoint}",
        "--model",
        model,
        "--output",
        output,
        "--json",
    ]


@pytest.mark.timeout(300)
def test_at_its_own_pace_all_is_recorded_and_the_freshest_is_tracked(
    posestream, excerpt, lmtracker_folder, tmp_path
) -> None:
    endpoint = free_endpoint()
    readers = [posestream("subscribe", endpoint, "--json", "--events") for _ in range(2)]
    run = posestream(*arguments("video.toml", excerpt, lmtracker_folder, endpoint, tmp_path))
    summary = run.summary(0, seconds=200)
    camera, folder = summary["cameras"]["top"], Path(summary["folder"]) / "top"
    assert camera["frames"]["captured"] == camera["frames"]["recorded"] == len(EXCERPT)
    assert frames_in(folder / "video.mp4") == len(EXCERPT)
    assert len(pd.read_csv(folder / "frames.csv")) == len(EXCERPT)
    assert 10 < camera["rate_hz"]["measured"] < 30.6  # a busy machine is late now and then, and never early
    poses = pd.read_csv(folder / "poses.csv")
    skipped = pd.read_csv(folder / "skipped.csv")
    runs = skipped[["first_seq", "last_seq"]].to_numpy()
    fates = sorted([*poses["frame_seq"], *(seq for first, last in runs for seq in range(first, last + 1))])
    assert fates == list(range(len(EXCERPT)))
    assert len(poses) > 1
    for reader in readers:
        status, out, err = reader.end()
        assert status == 0, err
        lines = [json.loads(line) for line in out.splitlines()]
        assert [line["frame_seq"] for line in lines if line["type"] == "pose"] == list(poses["frame_seq"])
        assert sum(line["data"]["count"] for line in lines if line.get("name") == "skipped") == skipped["count"].sum()
    table = pd.DataFrame(pd.read_hdf(folder / f"video{SCORER}.h5"))
    assert table.notna().all(axis=1).to_numpy().nonzero()[0].tolist() == list(poses["frame_seq"])


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # of the package movement
def test_every_frame_gets_the_pose_that_deeplabcut_gives_it(posestream, excerpt, lmtracker_folder, tmp_path) -> None:
    run = posestream(*arguments("every_frame.toml", excerpt, lmtracker_folder, free_endpoint(), tmp_path))
    summary = run.summary(0, seconds=580)
    camera, folder = summary["cameras"]["top"], Path(summary["folder"]) / "top"
    assert (
        camera["frames"]["recorded"] == camera["poses"]["recorded"] == frames_in(folder / "video.mp4") == len(EXCERPT)
    )
    table = pd.DataFrame(pd.read_hdf(folder / f"video{SCORER}.h5"))
    assert table.shape == (len(EXCERPT), 3)
    assert not table.isna().any(axis=None)
    for frame, (x, y, likelihood) in DEEPLABCUT.items():
        pose = table.iloc[EXCERPT.index(frame)]
        assert np.hypot(*(pose[:2] - (x, y))) < 0.5  # in bfloat16 where the machine has it
        assert pose.iloc[2] == pytest.approx(likelihood, abs=0.05)
    io = pytest.importorskip("movement.io", reason="the package movement is not installed")
    poses = io.load_poses.from_dlc_file(folder / f"video{SCORER}.h5", fps=30)
    np.testing.assert_allclose(poses.position.values.reshape(len(EXCERPT), 2), table.iloc[:, :2])
