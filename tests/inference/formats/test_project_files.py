from pathlib import Path

import pytest

from posestream.inference.errors import ModelError
from posestream.inference.formats.project_files import Training, find_skeleton, newest_train_folder


def network(project: Path, name: str, snapshot: str = "snapshot-5.index") -> Path:
    train = project / name / "train"
    train.mkdir(parents=True)
    (train / snapshot).touch()
    return train


def test_highest_iteration_then_highest_shuffle(tmp_path: Path) -> None:
    network(tmp_path, "dlc-models/iteration-9/aOct1-trainset95shuffle9")
    network(tmp_path, "dlc-models/iteration-10/aOct1-trainset95shuffle2")
    newest = network(tmp_path, "dlc-models/iteration-10/aOct1-trainset80shuffle10")
    network(tmp_path, "dlc-models/iteration-10/aOct1-trainset80shuffle11", "pose_cfg.yaml")
    network(tmp_path, "dlc-models/iteration-11/words")
    assert newest_train_folder(tmp_path) == newest


@pytest.mark.parametrize(
    ("engine", "expected"), [("", "dlc-models"), ("tensorflow", "dlc-models"), ("pytorch", "dlc-models-pytorch")]
)
def test_engine_decides_within_an_iteration(tmp_path: Path, engine: str, expected: str) -> None:
    network(tmp_path, "dlc-models/iteration-0/aOct1-trainset95shuffle1")
    network(tmp_path, "dlc-models-pytorch/iteration-0/aOct1-trainset95shuffle1", "snapshot-best-005.pt")
    (tmp_path / "config.yaml").write_text(f"engine: {engine}\n" if engine else "Task: a\n")
    assert newest_train_folder(tmp_path).parts[-4] == expected


def test_a_project_without_a_snapshot(tmp_path: Path) -> None:
    network(tmp_path, "dlc-models/iteration-0/aOct1-trainset95shuffle1", "pose_cfg.yaml")
    with pytest.raises(ModelError, match="no trained network here"):
        newest_train_folder(tmp_path)
    (tmp_path / "config.yaml").write_text("engine: [")
    with pytest.raises(ModelError, match="not a YAML file"):
        newest_train_folder(tmp_path)


def test_where_a_network_was_trained_is_read_from_paths_of_any_machine() -> None:
    expected = Training("aOct1-trainset95shuffle1", "aOct1", "a", "Oct1", 1, 0.95, 3)
    for path in (
        "/lab/a-me-2020-01-01/dlc-models/iteration-3/aOct1-trainset95shuffle1/train/snapshot-5",
        r"D:\lab\dlc-models\iteration-3\aOct1-trainset95shuffle1\train\snapshot-5",
        "iteration-3/aOct1-trainset95shuffle1",
    ):
        assert Training.of(path) == expected
    for path in ("", "resnet_v1_50.ckpt", "/lab/train/snapshot-5"):
        assert Training.of(path) is None


PROJECT = "Task: a\nbodyparts: [nose, ear, tail]\nskeleton:\n- [nose, ear]\n- [ear, tail]\n- [ear]\n- words\n"


@pytest.mark.parametrize(
    ("nearer", "expected"),
    [
        (None, [("nose", "ear")]),
        ("name: a website\n", [("nose", "ear")]),
        ("- 1\n", [("nose", "ear")]),
        ("bodyparts: 3\nTask: a\nskeleton: [[nose, tail]]\n", [("nose", "ear")]),
        ("bodyparts: [[nose], ear]\nTask: a\nskeleton: [[nose, ear]]\n", [("nose", "ear")]),
        ("Task: b\nbodyparts: [hand, wrist]\nskeleton: [[hand, wrist]]\n", [("nose", "ear")]),
        ("bodyparts: [nose, ear]\nskeleton: [[nose, tail]]\n", [("nose", "ear")]),
        ("Task: b\nbodyparts: [nose, ear]\nskeleton: 5\n", []),
        ("Task: b\nbodyparts: [nose, ear]\nskeleton: [[ear, nose], [ear, [nose]]]\n", [("ear", "nose")]),
    ],
)
def test_the_skeleton_is_the_projects_and_no_strangers(tmp_path: Path, nearer: str | None, expected: list) -> None:
    train = network(tmp_path, "dlc-models/iteration-0/aOct1-trainset95shuffle1")
    (tmp_path / "config.yaml").write_text(PROJECT)
    (tmp_path.parent / "config.yaml").write_text(PROJECT.replace("[nose, ear]", "[tail, nose]"))  # out of the project
    if nearer is not None:
        (tmp_path / "dlc-models" / "config.yaml").write_text(nearer)
    assert find_skeleton(train, ("ear", "nose")) == expected
