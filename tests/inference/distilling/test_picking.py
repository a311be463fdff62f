from pathlib import Path

import numpy as np
import pytest

from posestream.inference.distilling.picking import pick, read_picked, survey_video
from posestream.inference.errors import ModelError

from ...support.videos import encode_video


def moving(frames: int, places: int) -> list[np.ndarray]:
    """A bright square that stands for a long time at each of some places; nine of ten frames at the first."""
    still = frames * 9 // 10
    pictures = []
    for number in range(frames):
        place = 0 if number < still else 1 + (number - still) * (places - 1) // (frames - still)
        picture = np.full((48, 64, 3), 40, np.uint8)
        picture[10:30, 8 * place : 8 * place + 8] = 200
        pictures.append(picture)
    return pictures


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Whose first two thirds show the square at one place, and for the last tenth of that at five others."""
    pictures = moving(120, 6)
    return encode_video(tmp_path / "clip.mp4", [*pictures, *pictures[:60]])


def test_rare_frames_are_picked_and_the_last_third_is_kept_apart(clip: Path) -> None:
    survey = survey_video(clip)
    assert (survey.frames, survey.apart_from) == (180, 120)
    recording = pick(survey, 6, 10, seed=0)
    assert sum(number >= 108 for number in recording.learnt) == 5  # one for each place that is rare
    assert max(recording.learnt) < 120
    assert len(recording.apart) == 10
    assert (min(recording.apart), max(recording.apart)) == (120, 179)
    assert pick(survey, 6, 10, seed=0) == recording
    assert pick(survey, 1000, 1000, seed=0).learnt == list(range(120))


def test_frames_come_with_their_neighbours(clip: Path) -> None:
    grey = {number: frame.mean() for number, _, frame, _ in read_picked(clip, range(180))}
    found = list(read_picked(clip, [0, 1, 113, 179]))
    assert [number for number, *_ in found] == [0, 1, 113, 179]
    for number, *pictures in found:
        means = [None if picture is None else picture.mean() for picture in pictures]
        assert means == [grey.get(number + step) for step in (-1, 0, 1)]


def test_a_short_video_is_refused(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "short.mp4", moving(20, 2))
    with pytest.raises(ModelError, match="20 frames"):
        survey_video(path)
