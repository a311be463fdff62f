import math

import cv2
import numpy as np
import pytest

from posestream.inference.errors import ModelError
from posestream.stream.commands.train import arena_frames


def test_arena_frames_tell_what_they_know() -> None:
    frames = arena_frames(10, ("tailbase", "whisker", "snout"), first_seed=3)
    assert len({frame.name for frame in frames}) == 10
    for frame in frames:
        assert frame.known.tolist() == [True, False, True]
        assert [math.isfinite(x) for x, _ in frame.keypoints] == [True, False, True]
        picture = frame.read()
        assert picture.shape == (480, 640, 3)
        x, y = np.round(frame.keypoints[0]).astype(int)
        assert picture[y, x].mean() < np.median(picture)  # the mouse is darker than the ground
    with pytest.raises(ModelError, match="none of which"):
        arena_frames(1, ("wing",), first_seed=0)


def test_a_training_says_nothing_of_its_libraries(posestream, random_model, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    folder = tmp_path / "mouse" / "labeled-data" / "m1"
    folder.mkdir(parents=True)
    (tmp_path / "mouse" / "config.yaml").write_text("Task: mouse\nbodyparts: [snout]\n")
    cv2.imwrite(str(folder / "img0.png"), np.zeros((64, 96, 3), np.uint8))
    (folder / "CollectedData_me.csv").write_text(
        "scorer,me,me\nbodyparts,snout,snout\ncoords,x,y\nlabeled-data/m1/img0.png,20,30\n"
    )
    train = ("train", tmp_path / "mouse", "--output", "new", "--start", random_model, "--steps", 1, "--holdout", 0)
    status, out, err = posestream(*train).end()
    assert (status, err) == (0, "")
    assert out.startswith("loading the network")
    assert out.splitlines()[1].startswith("1 labelled frames")


def test_wrong_use_is_said_in_a_sentence(posestream, tmp_path) -> None:
    status, _, err = posestream("train", tmp_path / "gone", "--output", tmp_path / "new").end()
    assert status == 2
    assert "config.yaml cannot be read" in err
    assert "Traceback" not in err
    status, _, err = posestream("train", tmp_path / "gone", "--output", tmp_path).end()
    assert status == 2
    assert "exists already" in err
    checkpoint = tmp_path / "new.training" / "checkpoint.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"an hour of work")
    status, _, err = posestream("train", tmp_path / "gone", "--output", tmp_path / "new").end()
    assert status == 2
    assert "Go on from it with --resume, or remove that folder" in err
    assert checkpoint.read_bytes() == b"an hour of work"
