"""Exported networks of DeepLabCut's TensorFlow code, as folders and archives."""

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from posestream.inference.errors import ModelError
from posestream.inference.formats.archive import unpacked
from posestream.inference.formats.frozen_graph import read_export_folder
from posestream.inference.formats.models import load_model

from ..conftest import POSE_CONFIG, write_frozen_graph

INIT = "init_weights: 'D:\\lab\\dlc-models\\iteration-2\\openfieldOct30-trainset95shuffle3\\train\\snapshot-10000'\n"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "DLC_openfield_resnet_50_iteration-2_shuffle-3"
    folder.mkdir()
    (folder / "pose_cfg.yaml").write_text(POSE_CONFIG + INIT)
    write_frozen_graph(folder / "snapshot-10000.pb", variables, ends_in_poses=True)
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """An export of its own, with the large file linked."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "snapshot-10000.pb").symlink_to(exported / "snapshot-10000.pb")
    shutil.copy(exported / "pose_cfg.yaml", folder)
    return folder


def test_an_export_is_the_network_that_was_trained(exported: Path, bundle) -> None:
    ours = read_export_folder(exported)
    assert ours.spec.scorer == bundle.spec.scorer
    assert ours.spec.source == bundle.spec.source
    for name, array in bundle.weights.items():
        np.testing.assert_array_equal(ours.weights[name], array)


def test_a_graph_that_ends_in_maps_is_the_same(copy: Path, variables, bundle) -> None:
    (copy / "snapshot-10000.pb").unlink()
    write_frozen_graph(copy / "snapshot-10000.pb", variables, ends_in_poses=False)
    ours = read_export_folder(copy)
    assert all((ours.weights[name] == array).all() for name, array in bundle.weights.items())


def test_an_export_that_says_nothing_of_its_training(copy: Path) -> None:
    (copy / "pose_cfg.yaml").write_text(POSE_CONFIG)
    assert read_export_folder(copy).spec.scorer == "DLC_resnet50_mineshuffle1_10000"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks 269 of 269 constants"),
        (b"not a graph", "damaged, or not a TensorFlow graph"),
        (b"\x0a\xff\xff\xff\x7fxx", "damaged, or not a TensorFlow graph"),
    ],
)
def test_foreign_graph(copy: Path, content: bytes, message: str) -> None:
    (copy / "snapshot-10000.pb").unlink()
    (copy / "snapshot-10000.pb").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_model(copy)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated_graph(copy: Path, exported: Path, share: float) -> None:
    whole = (exported / "snapshot-10000.pb").read_bytes()
    (copy / "snapshot-10000.pb").unlink()
    (copy / "snapshot-10000.pb").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"damaged, or not a TensorFlow graph|lacks"):
        read_export_folder(copy)


def test_a_constant_that_asks_for_all_memory(copy: Path, variables) -> None:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph = GraphDef()
    for name in variables:
        tensor = graph.node.add(name=name, op="Const").attr["value"].tensor
        tensor.dtype = 1
        tensor.float_val.append(1.0)
        for _ in range(4):
            tensor.tensor_shape.dim.add(size=2**40)
    (copy / "snapshot-10000.pb").unlink()
    (copy / "snapshot-10000.pb").write_bytes(graph.SerializeToString())
    with pytest.raises(ModelError, match="has the shape"):
        read_export_folder(copy)


def test_folder_in_place_of_the_graph(copy: Path) -> None:
    (copy / "snapshot-10000.pb").unlink()
    (copy / "snapshot-10000.pb").mkdir()
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        load_model(copy)


@pytest.mark.parametrize("net_type", ["mobilenet_v2_1.4", "resnet_18"])
def test_other_networks_are_named(copy: Path, net_type: str) -> None:
    (copy / "pose_cfg.yaml").write_text(POSE_CONFIG.replace("resnet_50", net_type))
    with pytest.raises(ModelError, match=f"'{net_type}'.*resnet_101"):
        load_model(copy)


def archive_of(path: Path, fill: Callable[[tarfile.TarFile], None]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        fill(tar)
    return path


def member(name: str, **fields) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_archive(exported: Path, bundle, tmp_path: Path) -> None:
    path = archive_of(tmp_path / f"{exported.name}.tar.gz", lambda tar: tar.add(exported, exported.name))
    (tmp_path / "config.yaml").write_text(
        "Task: a\nbodyparts: [nose, leftear, tailbase]\nskeleton: [[nose, leftear]]\n"
    )
    ours = load_model(path)
    assert ours.spec.scorer == bundle.spec.scorer
    assert ours.spec.skeleton == (("nose", "leftear"),)
    assert all((ours.weights[name] == array).all() for name, array in bundle.weights.items())


def test_hostile_archives(tmp_path: Path) -> None:
    def config(tar: tarfile.TarFile, name: str) -> None:
        tar.addfile(member(name, size=3), io.BytesIO(b"a: "))

    def configs(tar: tarfile.TarFile, *names: str) -> None:
        for name in names:
            config(tar, name)

    link = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
    hard = {"type": tarfile.LNKTYPE, "linkname": "../../secret"}
    outside = tmp_path / "outside"
    outside.mkdir()
    cases = {
        "is a link or a device": [
            lambda tar: tar.addfile(member("a/pose_cfg.yaml", type=tarfile.CHRTYPE, devmajor=1, devminor=5)),
            lambda tar: tar.addfile(member("a/snapshot-1.pb", type=tarfile.FIFOTYPE)),
            lambda tar: tar.addfile(member("a/snapshot-1.pb", **link)),
            lambda tar: tar.addfile(member("a/pose_cfg.yaml", **hard)),
            lambda tar: tar.addfile(member("a", type=tarfile.SYMTYPE, linkname=str(outside))),
        ],
        "leads out of it": [
            lambda tar: config(tar, "../pose_cfg.yaml"),
            lambda tar: config(tar, "a/../../pose_cfg.yaml"),
            lambda tar: config(tar, str(tmp_path / "outside" / "pose_cfg.yaml")),
            lambda tar: config(tar, "C:/pose_cfg.yaml"),
        ],
        "0 files": [lambda tar: config(tar, "a/other.yaml")],
        "2 files": [lambda tar: configs(tar, "a/pose_cfg.yaml", "b/pose_cfg.yaml")],
        "more than 1000 files": [lambda tar: configs(tar, *(f"a/{n}" for n in range(1001)))],
    }
    for message, fills in cases.items():
        for number, fill in enumerate(fills):
            path = archive_of(tmp_path / f"{number}.tar.gz", fill)
            with pytest.raises(ModelError, match=message), unpacked(path):
                pass
    assert not list(outside.iterdir())


def test_an_archive_that_claims_to_be_huge(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar"
    path.write_bytes(member("a/snapshot-1.pb", size=2**40).tobuf(format=tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ModelError, match="it is no network"):
        load_model(path)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00garbage", b"words" * 200])
def test_damaged_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be unpacked"):
        load_model(tmp_path / "a.tar.gz")
