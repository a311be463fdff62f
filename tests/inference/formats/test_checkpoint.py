import shutil
from pathlib import Path

import numpy as np
import pytest

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import expected_tensors
from posestream.inference.formats.checkpoint import read_train_folder


def test_specification_is_read_from_the_project(bundle) -> None:
    spec = bundle.spec
    assert spec.bodyparts == ("nose", "leftear", "tailbase")
    assert spec.skeleton == (("nose", "leftear"), ("leftear", "tailbase"))
    assert spec.mean_pixel == (120.0, 110.0, 100.0)
    assert spec.location_refinement
    assert spec.scorer == "DLC_resnet50_openfieldOct30shuffle3_10000"
    source = spec.source
    assert (source.task, source.date, source.shuffle, source.iteration) == ("openfield", "Oct30", 3, 2)
    assert (source.training_fraction, source.snapshot, source.iterations) == (0.95, "snapshot-10000", 10000)


def test_batch_norm_is_folded(bundle, variables) -> None:
    assert {name: array.shape for name, array in bundle.weights.items()} == expected_tensors(bundle.spec)
    assert {array.dtype for array in bundle.weights.values()} == {np.dtype(np.float32)}
    scope = "resnet_v1_50/block2/unit_4/bottleneck_v1/conv1"
    norm = {
        name: variables[f"{scope}/BatchNorm/{name}"] for name in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    inputs = np.random.default_rng(0).standard_normal(512)
    plain = inputs @ variables[f"{scope}/weights"][0, 0]
    expected = norm["gamma"] * (plain - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1.001e-5)
    name = "block2/unit_4/conv1"
    folded = inputs @ bundle.weights[f"{name}/kernel"][0, 0] + bundle.weights[f"{name}/bias"]
    np.testing.assert_allclose(folded, expected + norm["beta"], atol=1e-5)


@pytest.fixture
def copy(train_folder: Path, tmp_path: Path) -> Path:
    """A train folder of its own, out of its project, with the large file linked."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in train_folder.glob("snapshot-10000.*"):
        (folder / path.name).symlink_to(path)
    shutil.copy(train_folder / "pose_cfg.yaml", folder)
    return folder


def test_folder_with_another_name_gets_a_scorer_too(copy: Path) -> None:
    spec = read_train_folder(copy).spec
    assert spec.scorer == "DLC_resnet50_mineshuffle1_10000"
    assert spec.source.shuffle is None
    assert spec.skeleton == ()


def test_named_snapshot(train_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"snapshot-9000 lacks 269 of 269 variables"):
        read_train_folder(train_folder, "snapshot-9000")
    with pytest.raises(ModelError, match=r"no snapshot 'snapshot-7'\. There are: snapshot-10000, snapshot-9000"):
        read_train_folder(train_folder, "snapshot-7")


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("net_type: resnet_50", "net_type: mobilenet_v2_1.0", "mobilenet_v2_1.0, which runs as an exported"),
        ("net_type: resnet_50", "net_type: efficientnet-b0", "efficientnet-b0, which runs as an exported"),
        ("net_type: resnet_50", "net_type: efficientnet-b9", "'efficientnet-b9'"),
        ("net_type: resnet_50", "net_type: [resnet_50]", "net_type"),
        ("dataset_type: imgaug", "dataset_type: multi-animal-imgaug", "multi-animal"),
        ("num_joints: 3", "num_joints: 3\nstride: 4", "stride 4"),
        ("num_joints: 3", "num_joints: 4", "num_joints: 4"),
        ("num_joints: 3", "num_joints: many", "num_joints"),
        ("num_joints: 3", "locref_stdev: -1\nnum_joints: 3", "locref_stdev"),
        ("[nose, leftear, tailbase]", "[nose, nose, tailbase]", "twice"),
        ("net_type: resnet_50", "", "net_type"),
        ("net_type: resnet_50", "net_type: [", "not a YAML file"),
        ("net_type: resnet_50", "net_type: !!python/object/apply:os.getcwd []", "not a YAML file"),
        ("net_type: resnet_50", "net_type: resnet_101", "lacks"),
        (
            "num_joints: 3",
            "num_joints: 2\nall_joints_names: [a, b]",
            r"part_pred/block4/weights has the shape \(3, 3, 3",
        ),
    ],
)
def test_what_cannot_be_run_is_named(copy: Path, line: str, instead: str, message: str) -> None:
    path = copy / "pose_cfg.yaml"
    text = path.read_text()
    assert line in text
    path.write_text(text.replace(line, instead))
    with pytest.raises(ModelError, match=message):
        read_train_folder(copy)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"just words", b"- 1\n- 2\n"])
def test_damaged_configuration(copy: Path, content: bytes) -> None:
    (copy / "pose_cfg.yaml").write_bytes(content)
    with pytest.raises(ModelError, match="pose_cfg"):
        read_train_folder(copy)


def damage(copy: Path, suffix: str, content: bytes | None) -> None:
    path = copy / f"snapshot-10000.{suffix}"
    path.unlink()
    if content is not None:
        path.write_bytes(content)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_truncated_snapshot(copy: Path, suffix: str, share: float) -> None:
    whole = (copy / f"snapshot-10000.{suffix}").read_bytes()
    damage(copy, suffix, whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"snapshot-10000 is damaged or incomplete"):
        read_train_folder(copy)


def test_flipped_bit_in_the_weights(copy: Path) -> None:
    whole = bytearray((copy / "snapshot-10000.data-00000-of-00001").read_bytes())
    whole[len(whole) // 2] ^= 1
    damage(copy, "data-00000-of-00001", bytes(whole))
    with pytest.raises(ModelError, match=r"snapshot-10000 is damaged or incomplete"):
        read_train_folder(copy)


def test_missing_files(copy: Path) -> None:
    damage(copy, "data-00000-of-00001", None)
    with pytest.raises(ModelError, match="damaged or incomplete"):
        read_train_folder(copy)
    damage(copy, "index", None)
    with pytest.raises(ModelError, match="no snapshot"):
        read_train_folder(copy)
    (copy / "pose_cfg.yaml").unlink()
    with pytest.raises(ModelError, match=r"pose_cfg\.yaml cannot be read: No such file"):
        read_train_folder(copy)


def test_skeleton_is_optional(train_folder: Path, copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.yaml").write_text("skeleton: [")
    assert read_train_folder(copy).spec.skeleton == ()
    assert "No skeleton" in caplog.text
