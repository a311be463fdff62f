"""Models for the tests: a random one written as DeepLabCut writes it, and a real one where the machine has it."""

import os
from pathlib import Path

import numpy as np
import pytest

from posestream.inference.formats.bundle import ModelBundle

from ..support.networks import (
    POSE_CONFIG,
    random_torch_state,
    random_variables,
    torch_config,
    write_checkpoint,
    write_frozen_graph,
)

__all__ = [
    "POSE_CONFIG",
    "random_torch_state",
    "random_variables",
    "torch_config",
    "write_checkpoint",
    "write_frozen_graph",
]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TRAIN = Path("dlc-models/iteration-2/openfieldOct30-trainset95shuffle3/train")


@pytest.fixture(scope="session")
def variables() -> dict[str, np.ndarray]:
    return random_variables()


@pytest.fixture(scope="session")
def train_folder(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, np.ndarray]) -> Path:
    """A project with one trained network; the newest snapshot is not the last by name."""
    project = tmp_path_factory.mktemp("openfield-Pranav-2018-10-30")
    folder = project / TRAIN
    folder.mkdir(parents=True)
    (project / "config.yaml").write_text(
        "Task: openfield\nbodyparts: [nose, leftear, objectA, tailbase]\n"
        "skeleton:\n- [nose, leftear]\n- [objectA, bodypart3]\n- [leftear, tailbase]\n"
    )
    (folder / "pose_cfg.yaml").write_text(POSE_CONFIG)
    write_checkpoint(folder / "snapshot-10000", variables)
    write_checkpoint(folder / "snapshot-9000", {"global_step": np.array(9000)})
    return folder


@pytest.fixture(scope="session")
def bundle(train_folder: Path) -> ModelBundle:
    from posestream.inference.formats.checkpoint import read_train_folder

    return read_train_folder(train_folder)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)
