"""The graph of ONNX against the network in Keras; OpenVINO runs it here, and other engines in their own tests."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import openvino
import pytest

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.torch_snapshot import build_torch_bundle
from posestream.inference.networks.network import build_network
from posestream.inference.networks.onnx_graph import onnx_graph

from ...support.networks import random_network, random_torch_state

SIZES = [(64, 96), (33, 50), (47, 48), (243, 321), (17, 16)]


def run_onnx(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", exact)
    return np.array(compiled(frames)[0])


def timm(bundle: ModelBundle, norm: str) -> ModelBundle:
    spec = msgspec.structs.replace(
        bundle.spec,
        family="timm",
        norm="group" if norm == "group" else "folded",
        std_pixel=(58.0, 57.0, 57.5),
        apply_sigmoid=False,
        clip_scores=True,
    )
    return build_torch_bundle(spec, random_torch_state(norm), "here")


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_poses_of_any_size_and_batch_are_those_of_keras(bundle, rng, height: int, width: int) -> None:
    frames = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    expected = np.asarray(build_network(bundle, pixel_format="rgb24")(frames))
    np.testing.assert_allclose(run_onnx(onnx_graph(bundle), frames), expected, atol=1e-3)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_of_deeplabcut_3_too(bundle, rng, norm: str) -> None:
    network = timm(bundle, norm)
    for size in ((48, 64), (33, 50)):
        frames = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
        expected = np.asarray(build_network(network, pixel_format="rgb24")(frames))
        np.testing.assert_allclose(run_onnx(onnx_graph(network), frames), expected, atol=1e-3)


@pytest.mark.parametrize("net_type", ["student_small", "student_medium", "leap"])
@pytest.mark.parametrize("pixel_format", ["gray8", "rgb24", "bgr24"])
def test_of_small_networks_in_grey(rng, net_type: str, pixel_format) -> None:
    network = random_network(net_type)
    for size in ((48, 64), (35, 50)):
        frames = rng.integers(0, 256, (2, *size, 1 if pixel_format == "gray8" else 3), dtype=np.uint8)
        expected = np.asarray(build_network(network, pixel_format=pixel_format)(frames))
        assert np.ptp(expected[..., :2]) > 1
        np.testing.assert_allclose(run_onnx(onnx_graph(network, pixel_format), frames), expected, atol=1e-3)
    if pixel_format != "gray8":
        same = np.repeat(frames[..., :1], 3, axis=-1)
        grey = run_onnx(onnx_graph(network, "gray8"), np.ascontiguousarray(same[..., :1]))
        np.testing.assert_allclose(run_onnx(onnx_graph(network, pixel_format), same), grey, atol=1e-3)


def test_pixel_formats_are_the_same_picture(bundle, rng) -> None:
    frames = rng.integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    reversed_frames = np.ascontiguousarray(frames[..., ::-1])
    rgb = run_onnx(onnx_graph(bundle), frames)
    np.testing.assert_allclose(run_onnx(onnx_graph(bundle, "bgr24"), reversed_frames), rgb, atol=1e-4)
    luma = frames[..., :1].copy()
    grey = run_onnx(onnx_graph(bundle, "gray8"), luma)
    np.testing.assert_allclose(grey, run_onnx(onnx_graph(bundle), np.repeat(luma, 3, axis=-1)), atol=1e-4)


@pytest.mark.parametrize("bias", [0.0, 100.0])
def test_of_equal_cells_the_first_is_taken(bundle, rng, bias: float) -> None:
    flat = {"part_pred/kernel": np.zeros_like(bundle.weights["part_pred/kernel"])}
    flat["part_pred/bias"] = np.full_like(bundle.weights["part_pred/bias"], bias)
    network = replace(bundle, weights={**bundle.weights, **flat})
    frames = rng.integers(0, 256, (2, 64, 80, 3), dtype=np.uint8)
    locref = np.asarray(build_network(network, pixel_format="rgb24", decode=False)(frames)[1])
    poses = run_onnx(onnx_graph(network), frames)
    np.testing.assert_allclose(poses[..., :2], 4 + 7.2801 * locref[:, 0, 0].reshape(2, 3, 2), atol=1e-3)
    assert (poses[..., 2] == (0.5 if bias == 0 else 1.0)).all()


def test_no_location_refinement_no_head(bundle, rng) -> None:
    spec = msgspec.structs.replace(bundle.spec, location_refinement=False)
    weights = {name: array for name, array in bundle.weights.items() if not name.startswith("locref")}
    poses = run_onnx(onnx_graph(ModelBundle(spec, weights)), rng.integers(0, 256, (1, 48, 64, 3), dtype=np.uint8))
    assert (poses[..., :2] % 8 == 4).all()
    assert np.ptp(poses[..., :2]) > 0


def test_it_is_valid_and_says_what_it_takes(bundle) -> None:
    for half in (False, True):
        model = onnx_graph(bundle, "gray8", half=half)
        onnx.checker.check_model(model, full_check=True)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
        (frames,), (poses,) = model.graph.input, model.graph.output
        shapes = [
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (frames, poses)
        ]
        assert (frames.name, poses.name) == ("frames", "poses")
        assert shapes == [["batch", "height", "width", 1], ["batch", 3, 3]]
        about = {entry.key: entry.value for entry in model.metadata_props}
        assert about["bodyparts"].split("\n") == list(bundle.spec.bodyparts)
        assert (about["pixel_format"], about["model_sha256"]) == ("gray8", bundle.digest())


def test_it_needs_no_tensorflow(bundle: ModelBundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "model")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from posestream.inference.formats.models import load_model\n"
        "from posestream.inference.networks.onnx_graph import onnx_graph\n"
        "onnx_graph(load_model(Path(sys.argv[1])))\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model")], check=True)


def test_a_frozen_graph_has_none(bundle) -> None:
    with pytest.raises(ModelError, match="there is no ONNX graph of it"):
        onnx_graph(replace(bundle, graph=b"graph"))
