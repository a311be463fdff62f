import csv
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from posestream.stream.session.deeplabcut_files import Analysis, write_deeplabcut_files
from posestream.stream.wire.details import ModelDetails

MODEL: dict[str, Any] = {
    "scorer": "DLC_resnet50_openfieldOct30shuffle1_1030000",
    "bodyparts": ["snout", "left ear", "tailbase"],
    "net_type": "resnet_50",
    "stride": 8,
    "locref_stdev": 7.2801,
    "location_refinement": True,
    "mean_pixel": [123.68, 116.779, 103.939],
    "source": {"iteration": 2, "training_fraction": 0.8},
}
ANALYSIS = Analysis(start_s=1e9, stop_s=1e9 + 5, rate_hz=30.0, height=480, width=640, batch_size=8)


@pytest.fixture
def written(tmp_path: Path) -> tuple[np.ndarray, list[Path]]:
    values = np.random.default_rng(0).uniform(0, 500, (50, 9))
    values[7] = np.nan  # a frame without a pose
    model = msgspec.convert(MODEL, ModelDetails)
    return values, write_deeplabcut_files(tmp_path / "video.mp4", model, values, ANALYSIS)


def test_the_table_is_deeplabcuts(written) -> None:
    values, (h5, *_) = written
    assert h5.name == "videoDLC_resnet50_openfieldOct30shuffle1_1030000.h5"
    table = pd.DataFrame(pd.read_hdf(h5))  # without a key, as DeepLabCut reads it: there must be one object only
    assert table.columns.names == ["scorer", "bodyparts", "coords"]
    assert [*table.columns] == [
        (MODEL["scorer"], part, value) for part in MODEL["bodyparts"] for value in ("x", "y", "likelihood")
    ]
    assert list(table.index) == list(range(50))
    assert set(table.dtypes) == {np.dtype(np.float64)}
    np.testing.assert_array_equal(table.to_numpy(), values)
    store: Any
    with pd.HDFStore(h5, "r") as store:
        assert store.keys() == ["/df_with_missing"]
        # without it, pandas 2, which DeepLabCut runs on, takes the table for one from before 2014 and fails
        assert store.get_storer("df_with_missing").attrs.pandas_version == "0.15.2"


def test_the_csv_has_deeplabcuts_three_header_lines(written) -> None:
    values, (_, text, _) = written
    lines = list(csv.reader(text.read_text().splitlines()))
    assert [line[0] for line in lines[:4]] == ["scorer", "bodyparts", "coords", "0"]
    assert lines[1][1:4] == ["snout"] * 3
    assert lines[2][1:4] == ["x", "y", "likelihood"]
    assert float(lines[3][1]) == pytest.approx(values[0, 0])
    assert lines[3 + 7][1:] == [""] * 9
    assert len(lines) == 53


def test_the_metadata_has_deeplabcuts_keys(written) -> None:
    _, (_, _, meta) = written
    assert meta.name.endswith("_meta.pickle")
    data = pickle.loads(meta.read_bytes())["data"]  # noqa: S301 - written here
    assert set(data) == {
        "start",
        "stop",
        "run_duration",
        "Scorer",
        "DLC-model-config file",
        "fps",
        "batch_size",
        "frame_dimensions",
        "nframes",
        "iteration (active-learning)",
        "training set fraction",
        "cropping",
        "cropping_parameters",
    }
    assert data["frame_dimensions"] == (480, 640)
    assert data["nframes"] == 50
    assert data["cropping"] is False
    assert data["cropping_parameters"] == [0, 640, 0, 480]
    assert data["iteration (active-learning)"] == 2
    assert data["DLC-model-config file"]["all_joints_names"] == MODEL["bodyparts"]


def test_the_metadata_of_a_network_of_deeplabcut_3_has_its_keys(tmp_path: Path) -> None:
    model = MODEL | {"source": MODEL["source"] | {"kind": "deeplabcut-pytorch"}}
    *_, meta = write_deeplabcut_files(
        tmp_path / "video.mp4", msgspec.convert(model, ModelDetails), np.zeros((4, 9)), ANALYSIS
    )
    data = pickle.loads(meta.read_bytes())["data"]  # noqa: S301 - written here
    assert "DLC-model-config file" not in data
    assert data["frame_dimensions"] == (640, 480)
    assert data["cropping_parameters"] == [0, 640, 0, 480]
    assert data["individuals"] == data["pytorch-config"]["metadata"]["individuals"] == ["individual_1"]
    assert data["bodyparts"] == data["pytorch-config"]["metadata"]["bodyparts"] == MODEL["bodyparts"]
    assert data["unique_bodyparts"] == []
    assert data["pytorch-config"]["net_type"] == "resnet_50"


@pytest.mark.filterwarnings("ignore")
def test_the_package_movement_reads_it(written) -> None:
    io = pytest.importorskip("movement.io", reason="the package movement is not installed")
    values, (h5, text, _) = written
    for file in (h5, text):
        poses = io.load_poses.from_dlc_file(file, fps=30)
        assert list(poses.keypoints.values) == MODEL["bodyparts"]
        assert poses.sizes["time"] == 50
        np.testing.assert_allclose(poses.position.sel(keypoints="tailbase").values[:, :, 0], values[:, 6:8])
        np.testing.assert_allclose(poses.confidence.sel(keypoints="snout").values[:, 0], values[:, 2])
