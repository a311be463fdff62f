import shutil
from pathlib import Path

import numpy as np
import pytest

from posestream.acquisition.arena import KEYPOINTS, Arena
from posestream.inference.engines import open_engine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundled import bundled_networks, find_model
from posestream.inference.formats.models import load_model
from posestream.stream.commands.model_optimize import optimise_model


def test_the_network_of_the_package_is_found_by_its_name() -> None:
    assert bundled_networks() == ("openfield-mouse",)
    bundle = load_model("openfield-mouse")
    assert bundle.spec.name == "openfield-mouse"
    assert bundle.spec.bodyparts == KEYPOINTS
    folder = find_model("openfield-mouse")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 50e6
    assert (folder / "README.md").is_file(), "its model card"


def test_what_lies_there_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("a/b") == tmp_path / "a" / "b"
    assert find_model("b", tmp_path / "rigs") == tmp_path / "rigs" / "b"
    assert find_model("openfield-mouse", tmp_path).is_dir()
    shutil.copytree(find_model("openfield-mouse"), tmp_path / "openfield-mouse")
    assert find_model("openfield-mouse", tmp_path) == tmp_path / "openfield-mouse"


def test_a_name_that_is_none_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='did you mean "openfield-mouse"'):
        load_model(tmp_path / "openfeild-mouse")


@pytest.mark.parametrize("colour", [False, True])
def test_it_sees_the_arena_of_a_seed_that_it_was_not_trained_on(colour: bool) -> None:
    engine = open_engine(load_model("openfield-mouse"), "auto", "float32", None)
    engine.prepare(480, 640, "rgb24" if colour else "gray8", [1])
    offsets, likelihoods = [], []
    for seed in range(2_000_000, 2_000_004):
        arena = Arena(seed=seed, colour=colour)
        for _ in range(45):
            arena.advance()
        frame = np.empty((480, 640, 3 if colour else 1), np.uint8)
        arena.render(frame if colour else frame[..., 0])
        pose = engine.run(frame[None])[0]
        offsets.append(pose[:, :2] - np.array(arena.keypoints))
        likelihoods.append(pose[:, 2])
    assert np.sqrt(np.square(offsets).sum(axis=-1).mean()) < 2
    assert np.mean(likelihoods) > 0.9


def test_it_is_copied_rather_than_changed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="name a folder for a copy of it with --output"):
        optimise_model(Path("openfield-mouse"), video=tmp_path / "v.mp4", output=None, frames=4, size=None)
