"""Networks of DeepLabCut 3. What reads `.pt` files needs PyTorch and skips without it; all else runs on arrays."""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import expected_tensors
from posestream.inference.formats.models import load_model
from posestream.inference.formats.project_files import Training
from posestream.inference.formats.torch_config import describe_torch, read_torch_config
from posestream.inference.formats.torch_snapshot import build_torch_bundle, find_torch_snapshot
from posestream.inference.networks.decoder import decode_graph, decode_numpy
from posestream.inference.networks.network import build_network

from ..conftest import random_torch_state, torch_config

FOLDER = "iteration-1/openfieldOct30-trainset95shuffle2"


def specification(model_name: str):
    config = read_torch_config(torch_config(model_name), "here")
    training = Training.of(FOLDER)
    assert training is not None
    return describe_torch(config, Path("train/snapshot-best-090.pt"), training)


@pytest.fixture(scope="module", params=["resnet50_gn", "resnet50"])
def both(request):
    state = random_torch_state("group" if request.param.endswith("gn") else "batch")
    return state, build_torch_bundle(specification(request.param), state, "here")


def reference_maps(frames: np.ndarray, state: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Maps of RGB frames by raw ops, written from the published description of timm's ResNet and the heads."""
    import tensorflow as tf

    def kernel(name):
        return np.transpose(state[f"{name}.weight"], (2, 3, 1, 0))

    def norm(net, name):
        gamma, beta = state[f"{name}.weight"], state[f"{name}.bias"]
        if f"{name}.running_var" in state:
            mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
            return gamma * (net - mean) / np.sqrt(variance + 1e-5) + beta
        batch, height, width, channels = net.shape
        groups = tf.reshape(net, (batch, height * width, 32, channels // 32))
        mean, variance = tf.nn.moments(groups, (1, 3), keepdims=True)
        return gamma * tf.reshape((groups - mean) / tf.sqrt(variance + 1e-5), net.shape) + beta

    def conv(net, name, norm_name, stride=1, pad=0, rate=1):
        net = tf.pad(net, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return norm(tf.nn.conv2d(net, kernel(name), stride, "VALID", dilations=rate), norm_name)

    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
    net = (frames.astype(np.float32) / 255 - mean) / deviation
    net = tf.nn.relu(conv(net, "backbone.model.conv1", "backbone.model.bn1", stride=2, pad=3))
    net = tf.nn.max_pool2d(tf.pad(net, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-np.inf), 3, 2, "VALID")
    for layer, units in enumerate((3, 4, 6, 3), start=1):
        for unit in range(units):
            name = f"backbone.model.layer{layer}.{unit}"
            stride = 2 if layer in (2, 3) and unit == 0 else 1
            rate = 2 if layer == 4 and unit > 0 else 1
            shortcut = conv(net, f"{name}.downsample.0", f"{name}.downsample.1", stride) if unit == 0 else net
            residual = tf.nn.relu(conv(net, f"{name}.conv1", f"{name}.bn1"))
            residual = tf.nn.relu(conv(residual, f"{name}.conv2", f"{name}.bn2", stride, pad=rate, rate=rate))
            net = tf.nn.relu(shortcut + conv(residual, f"{name}.conv3", f"{name}.bn3"))

    def head(name):
        module = f"heads.bodypart.{name}.deconv_layers.0"
        weights = kernel(module)
        batch, height, width, _ = net.shape
        shape = (batch, 2 * height + 1, 2 * width + 1, weights.shape[2])
        return (tf.nn.conv2d_transpose(net, weights, shape, 2, "VALID") + state[f"{module}.bias"]).numpy()

    return [head("heatmap_head"), head("locref_head")]


def test_maps_and_poses_are_those_of_the_reference(both, rng) -> None:
    state, bundle = both
    assert {name: array.shape for name, array in bundle.weights.items()} == expected_tensors(bundle.spec)
    network = build_network(bundle, pixel_format="rgb24", decode=False)
    poses_network = build_network(bundle, pixel_format="rgb24")
    for height, width in ((64, 96), (33, 50), (47, 48), (115, 161)):
        frames = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
        expected = reference_maps(frames, state)
        assert expected[0].shape == (2, 2 * -(-height // 16) + 1, 2 * -(-width // 16) + 1, 3)
        assert expected[0].std() > 0.1, "the random network must say something"
        for got, maps in zip(map(np.asarray, network(frames)), expected, strict=True):
            assert got.shape == maps.shape
            np.testing.assert_allclose(got, maps, atol=1e-3 * np.abs(maps).max())
        poses = decode_numpy(expected[0], expected[1], locref_stdev=7.0)
        poses[..., 2] = poses[..., 2].clip(0, 1)
        np.testing.assert_allclose(np.asarray(poses_network(frames)), poses, atol=0.05)


def test_a_frame_does_not_depend_on_its_batch(both, rng) -> None:
    network = build_network(both[1], pixel_format="gray8")
    frames = rng.integers(0, 256, (3, 48, 64, 1), dtype=np.uint8)
    np.testing.assert_allclose(np.asarray(network(frames))[1], np.asarray(network(frames[1:2]))[0], atol=1e-3)


@pytest.mark.parametrize(("apply_sigmoid", "clip"), [(False, False), (False, True), (True, False)])
def test_likelihood_is_what_the_flags_say(rng, apply_sigmoid: bool, clip: bool) -> None:
    maps = rng.normal(1.0, 2.0, (2, 5, 7, 3)).astype(np.float32)
    poses = np.asarray(
        decode_graph(maps, None, parts=3, stride=8.0, locref_stdev=1.0, apply_sigmoid=apply_sigmoid, clip_scores=clip)
    )
    best = maps.max(axis=(1, 2))
    expected = 1 / (1 + np.exp(-best)) if apply_sigmoid else best.clip(0, 1) if clip else best
    np.testing.assert_allclose(poses[..., 2], expected, atol=1e-6)
    np.testing.assert_allclose(poses[..., :2], decode_numpy(maps, None)[..., :2])


def test_specification() -> None:
    spec = specification("resnet50_gn")
    assert (spec.family, spec.norm, spec.apply_sigmoid, spec.clip_scores) == ("timm", "group", False, True)
    assert spec.locref_stdev == 7.0
    assert spec.scorer == "DLC_Resnet50_openfieldOct30shuffle2_snapshot_best-90"
    assert (spec.source.epochs, spec.source.iteration, spec.source.snapshot) == (90, 1, "snapshot-best-90")
    assert specification("resnet50").norm == "folded"


def test_a_bundle_keeps_all_of_it(both, tmp_path: Path) -> None:
    both[1].save(tmp_path / "bundle")
    assert load_model(tmp_path / "bundle").spec == both[1].spec


def changed(path: str, value) -> dict:
    config = torch_config()
    *above, last = path.split(".")
    place = config
    for key in above:
        place = place[key]
    place[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("net_type", "hrnet_w32", "'hrnet_w32'"),
        ("net_type", "dlcrnet_stride16_ms5", "'dlcrnet_stride16_ms5'"),
        ("method", "td", r"top-down network with a detector \(resnet_50\)"),
        ("method", "ctd", "conditional top-down"),
        ("metadata.individuals", ["a", "b"], "2 animals"),
        ("metadata.unique_bodyparts", ["corner"], "heads bodypart"),
        ("model.heads.bodypart.predictor.type", "PartAffinityFieldPredictor", "PartAffinityFieldPredictor"),
        ("model.backbone.model_name", "resnet50d", "resnet50d"),
        ("model.backbone.output_stride", 32, "output stride 32"),
        ("model.heads.bodypart.heatmap_config.strides", [2, 2], "transposed convolution"),
        ("data.inference.resize", {"height": 100}, r"changed before they reach it \(resize\)"),
        ("data.inference.normalize_images", False, "normalised RGB"),
        ("data.inference", [], "not DeepLabCut's"),
        ("metadata.bodyparts", "nose", "not DeepLabCut's"),
        ("model", None, "not DeepLabCut's"),
        ("net_type", 50, "not DeepLabCut's"),
    ],
)
def test_what_cannot_be_run_is_named(path: str, value, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_torch_config(changed(path, value), "here")


@pytest.mark.parametrize("loaded", [None, [], "words", {}, 3])
def test_what_is_no_configuration(loaded) -> None:
    with pytest.raises(ModelError, match="here is not DeepLabCut's"):
        read_torch_config(loaded, "here")


def test_missing_and_misshapen_weights() -> None:
    spec = specification("resnet50_gn")
    state = random_torch_state("group")
    with pytest.raises(ModelError, match=r"shape \(3, 3\), but"):
        build_torch_bundle(spec, {**state, "backbone.model.conv1.weight": np.zeros((3, 3), np.float32)}, "here")
    with pytest.raises(ModelError, match="not finite"):
        build_torch_bundle(spec, {**state, "backbone.model.bn1.bias": np.full(64, np.nan, np.float32)}, "here")
    del state["backbone.model.layer2.0.downsample.1.weight"]
    with pytest.raises(ModelError, match=r"lacks the weights backbone\.model\.layer2\.0\.downsample\.1\.weight"):
        build_torch_bundle(spec, state, "here")


def test_best_snapshot_comes_first(tmp_path: Path) -> None:
    for name in ("snapshot-010", "snapshot-200", "snapshot-best-050", "snapshot-detector-300"):
        (tmp_path / f"{name}.pt").touch()
    assert find_torch_snapshot(tmp_path).stem == "snapshot-best-050"
    (tmp_path / "snapshot-best-050.pt").unlink()
    assert find_torch_snapshot(tmp_path).stem == "snapshot-200"


def test_without_pytorch_the_message_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "snapshot-5.pt").write_bytes(b"x")
    with pytest.raises(ModelError, match=r'pip install "posestream\[torch\]"'):
        load_model(tmp_path / "snapshot-5.pt")


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")


def test_train_folder_and_export(torch, tmp_path: Path) -> None:
    state = random_torch_state("group")
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    train = tmp_path / "dlc-models-pytorch" / FOLDER / "train"
    train.mkdir(parents=True)
    project = "Task: openfield\nengine: pytorch\nbodyparts: [nose, leftear, tailbase]\nskeleton:\n- [nose, tailbase]\n"
    (tmp_path / "config.yaml").write_text(project)
    (train / "pytorch_config.yaml").write_text(yaml.safe_dump(torch_config()))
    torch.save({"metadata": {"epoch": 90}, "model": tensors}, train / "snapshot-best-090.pt")
    expected = build_torch_bundle(specification("resnet50_gn"), state, "here")
    for source in (tmp_path, train, train.parent, train / "snapshot-best-090", train / "snapshot-best-090.pt"):
        ours = load_model(source)
        assert ours.spec == msgspec.structs.replace(expected.spec, skeleton=(("nose", "tailbase"),))
    assert all((ours.weights[name] == array).all() for name, array in expected.weights.items())

    exported = tmp_path / "elsewhere" / "DLC_openfield_resnet_50_snapshot-best-90.pt"
    exported.parent.mkdir()
    torch.save({"config": torch_config(), "pose": tensors}, exported)
    spec = load_model(exported.parent).spec
    assert spec.scorer == "DLC_Resnet50_openfieldOct30shuffle5_snapshot_best-90"
    assert (spec.source.iteration, spec.source.training_fraction) == (4, 0.8)
    torch.save({"config": torch_config(), "pose": {}, "detector": {}}, exported)
    with pytest.raises(ModelError, match="with a detector"):
        load_model(exported)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_code_in_a_pickle_is_not_executed(torch, tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    torch.save({"config": torch_config(), "pose": Trap(trap)}, tmp_path / "new.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"config": torch_config(), "pose": Trap(trap)}))
    for name in ("new.pt", "old.pt"):
        with pytest.raises(ModelError, match="never executed"):
            load_model(tmp_path / name)
    assert not trap.exists()


def test_a_pytorch_that_can_be_got_round_is_not_used(torch, tmp_path: Path, monkeypatch) -> None:
    torch.save({"config": torch_config()}, tmp_path / "new.pt")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1+cpu"))
    with pytest.raises(ModelError, match=r"2\.9\.1.*Update it"):
        load_model(tmp_path / "new.pt")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_any_damage_to_an_export(torch, tmp_path: Path, place: float, byte: int, cut: bool) -> None:
    """The export holds too little to be a network, so all ends in an error, and that is ours."""
    path = tmp_path / "a.pt"
    torch.save({"config": torch_config(), "pose": {"backbone.model.conv1.weight": torch.zeros(9)}}, path)
    whole = path.read_bytes()
    number = int(len(whole) * place)
    path.write_bytes(whole[:number] if cut else whole[:number] + bytes([byte]) + whole[number + 1 :])
    with pytest.raises(ModelError, match=r"a\.pt"):
        load_model(path)


def test_damaged_and_foreign_files(torch, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"config": torch_config(), "pose": {"x": torch.zeros(1000)}}, path)
    whole = path.read_bytes()
    for content in (b"", b"words", whole[:100], whole[: len(whole) // 2], whole[:-10], b"PK\x03\x04" + bytes(99)):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read as weights"):
            load_model(path)
    value: Any
    for value in (torch.zeros(3), {"model": {}}, {"config": 1, "pose": {}}, {"config": {}, "pose": {}}, [1]):
        torch.save(value, path)
        with pytest.raises(ModelError, match=r"a\.pt is not"):
            load_model(path)
    (tmp_path / "b.pt").mkdir()
    with pytest.raises(ModelError, match="neither"):
        load_model(tmp_path / "b.pt")
