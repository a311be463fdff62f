"""`posestream bench speed`: small experiments on networks that mean nothing."""

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from posestream.inference.arithmetic import multiply_adds
from posestream.inference.bench.cells import Cell, cells_of, scaled_sizes
from posestream.inference.bench.maps import MapsEngine, graph_decoder
from posestream.inference.bench.speed import Experiment
from posestream.inference.formats.models import load_model
from posestream.inference.networks.decoder import sigmoid

from ...inference.conftest import POSE_CONFIG, random_variables, write_frozen_graph

pytestmark = pytest.mark.timeout(180)
SMALL = ("--size", "96x64", "--frames", 6, "--seconds", 0.01, "--repetitions", 2)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What DeepLabCut exports, of a network that means nothing."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "pose_cfg.yaml").write_text(POSE_CONFIG)
    write_frozen_graph(folder / "snapshot-1.pb", random_variables(), ends_in_poses=True)
    return folder


def test_every_condition_is_measured_in_an_order_of_its_own(posestream, random_model, tmp_path) -> None:
    folder = tmp_path / "speed"
    status, out, err = posestream(
        "bench", "speed", random_model, *SMALL, "--scales", "1,0.5", "--batch-sizes", "1,4",
        "--engine", "openvino:float32", "--engine", "tensorflow:float32", "--engine", "openvino:int8",
        "--decoder", "graph", "--decoder", "loop", "--output", folder,
    ).end()  # fmt: skip
    assert status == 0, err
    assert "not measured: openvino int8: random has no int8 graph yet" in out
    rows = list(csv.DictReader((folder / "speed.csv").read_text().splitlines()))
    cells = [(row["engine"], row["decoder"], row["width"], row["batch"]) for row in rows]
    assert len(cells) == 24
    first, second = cells[:12], cells[12:]
    assert len(set(first)) == 12
    assert set(first) == set(second)
    assert first != second
    assert all(float(row["frames_per_second"]) > 0 and int(row["frames"]) >= 2 * int(row["batch"]) for row in rows)
    result = json.loads((folder / "speed.json").read_text())
    counted = multiply_adds(load_model(random_model).spec, 64, 96)
    assert {cell["multiply_adds"] for cell in result["cells"] if cell["width"] == 96} == {counted}
    for cell in result["cells"]:
        timed = [row for row in rows if (row["engine"], row["decoder"], int(row["width"]), int(row["batch"])) == (
            cell["engine"], cell["decoder"], cell["width"], cell["batch"])]  # fmt: skip
        assert cell["frames_per_second"]["median"] == pytest.approx(
            np.median([float(row["frames_per_second"]) for row in timed])
        )
        if cell["engine"] == "tensorflow":
            assert cell["from_float32_px"] is None or cell["from_float32_px"]["median"] < 0.01
            assert cell["decode_ms"] > 0
    for name in ("speed-batches.png", "speed-decoders.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 300


def test_ctrl_c_keeps_what_was_measured(posestream, random_model, tmp_path) -> None:
    run = posestream("bench", "speed", random_model, "--size", "96x64", "--frames", 2, "--seconds", 0.5,
                     "--repetitions", 500, "--batch-sizes", "1", "--scales", "1", "--engine", "openvino:float32",
                     "--output", tmp_path / "speed")  # fmt: skip
    run.until("2 of 500")
    run.interrupt()
    status, out, err = run.end()
    assert status == 1, err
    assert "stopped before the end: interrupted" in out
    timings = json.loads((tmp_path / "speed" / "speed.json").read_text())["timings"]
    assert 2 <= len(timings) < 500


def test_the_order_is_the_seeds(posestream, random_model) -> None:
    cells = cells_of([("openvino", "float32")], ["graph"], [(96, 64)], [1, 2, 3], window=None, peer=False)
    frames = np.zeros((6, 64, 96, 1), np.uint8)
    experiment = Experiment(load_model(random_model), lambda _width, _height: frames, "gray8", seconds=0.01)

    def order(seed: int) -> list[int]:
        before = len(experiment.timings)
        experiment.run(cells, 2, seed, lambda *_: None)
        return [timing.cell.batch for timing in experiment.timings[before:]]

    status, out, err = posestream(
        "bench", "speed", random_model, *SMALL, "--batch-sizes", "1,2,3", "--scales", "1",
        "--engine", "openvino:float32", "--seed", 1, "--json",
    ).end()  # fmt: skip
    assert status == 0, err
    assert [timing["batch"] for timing in json.loads(out)["timings"]] == order(1) != order(2)


def test_the_decoders_agree(random_model) -> None:
    bundle = load_model(random_model)
    chance = np.random.default_rng(1)
    logits, locref = (chance.standard_normal((3, 8, 12, channels), np.float32) for channels in (4, 8))
    decoded = {name: MapsEngine(bundle, "float32", name).decode(sigmoid(logits), locref) for name in ("numpy", "loop")}
    np.testing.assert_array_equal(decoded["numpy"], decoded["loop"])
    in_graph = np.asarray(graph_decoder(bundle, 8, 12)([logits, locref]))
    np.testing.assert_allclose(in_graph, decoded["numpy"], atol=1e-3)


def test_what_is_combined_with_what() -> None:
    pairs = [("tensorflow", "float32"), ("openvino", "int8")]
    cells = cells_of(pairs, ["graph", "loop"], [(640, 480), (160, 120)], [1, 8], window=256, peer=True)
    assert len(cells) == 8 + 4 + 2 + 2
    assert all(cell.engine == "tensorflow" for cell in cells if cell.decoder == "loop")
    assert [cell for cell in cells if cell.window] == [Cell(*pair, "graph", 640, 480, 1, 256) for pair in pairs]
    assert scaled_sizes((640, 480), (1, 0.5, 0.5, 0.001)) == [(640, 480), (320, 240), (1, 1)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--size", "640"), "640 is no size; write WIDTHxHEIGHT"),
        (("--batch-sizes", "1,two"), "1,two is not a list of numbers from 1 to 1024"),
        (("--engine", "openvino"), "write NAME:PRECISION"),
        (("--window", 256), "name a video"),
        (("--engine", "warp:float32"), "Nothing of what was asked can be measured here"),
        (("--output", __file__), "test_speed.py cannot be made"),
        (("--against", sys.executable), "needs a model that DeepLabCut exported"),
    ],
)
def test_wrong_use(posestream, random_model, arguments: tuple[object, ...], says: str) -> None:
    status, _, err = posestream("bench", "speed", random_model, *arguments).end()
    assert status == 2
    assert says in err


def test_an_environment_without_deeplabcut_live_is_named(posestream, exported: Path) -> None:
    status, _, err = posestream("bench", "speed", exported, *SMALL, "--against", sys.executable).end()
    assert status == 2
    assert "DeepLabCut-Live does not run in the environment of" in err
    assert "No module named 'dlclive'" in err


def test_deeplabcut_live_takes_turns_on_the_same_frames(posestream, openfield_clip: Path) -> None:
    python, model = (os.environ.get(name) for name in ("POSESTREAM_DLCLIVE", "POSESTREAM_DLCLIVE_MODEL"))
    if python is None or model is None:
        pytest.skip(
            "POSESTREAM_DLCLIVE and POSESTREAM_DLCLIVE_MODEL do not name a Python with DeepLabCut-Live and an export"
        )
    status, out, err = posestream(
        "bench", "speed", model, "--video", openfield_clip, *SMALL, "--size", "320x240", "--scales", "1",
        "--batch-sizes", "1", "--engine", "openvino:float32", "--against", python, "--json",
    ).end()  # fmt: skip
    assert status == 0, err
    ours, theirs = sorted(json.loads(out)["cells"], key=lambda cell: cell["engine"] == "deeplabcut-live")
    assert ours["times_the_peer"] > 0
    assert ours["from_the_peer_px"]["largest"] < 0.05
    assert theirs["frames_per_second"]["median"] > 0
