import math

import numpy as np
import pytest

from posestream.inference.errors import ModelError
from posestream.stream.training import arena_frames


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
