"""What the teacher says, put together."""

from pathlib import Path

import numpy as np
import pytest

from posestream.inference.distilling.answers import Answers, Row
from posestream.inference.distilling.figures import distance
from posestream.inference.distilling.teacher import Teacher, agreed, mirrors
from posestream.inference.engine import Precision
from posestream.inference.errors import ModelError


class Spots:
    """An engine that finds the brightest pixel for `leftpaw`, and the darkest for `rightpaw`."""

    name, reason = "spots", ""
    precision: Precision = "float32"

    def __init__(self, bodyparts: tuple[str, ...] = ("leftpaw", "rightpaw"), swaps: bool = False) -> None:
        self.bodyparts, self._swaps = bodyparts, swaps

    def prepare(self, height, width, pixel_format, batch_sizes) -> None:
        pass

    def run(self, frames, pixel_format=None):
        poses = []
        for frame in frames[..., 0].astype(float):
            places = [np.unravel_index(find(frame), frame.shape) for find in (np.argmax, np.argmin)]
            left = places[0][1] < places[1][1]
            if self._swaps and not left:  # sides of the picture, not of the animal
                places.reverse()
            poses.append([(x, y, 0.9) for y, x in places])
        return np.array(poses, np.float32)


def picture(bright: tuple[int, int], dark: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    frame = np.full((60, 80), 128.0)
    for sign, (x, y) in ((100, bright), (-100, dark)):
        frame += sign * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)
    return frame.astype(np.uint8)[..., None]


def test_views_are_in_the_frame_and_a_side_is_what_a_mirror_keeps() -> None:
    frame = picture((20, 30), (60, 40))
    seen = Teacher(Spots(swaps=True)).views(frame)
    np.testing.assert_allclose(seen[..., :2], np.broadcast_to([[20, 30], [60, 40]], (4, 2, 2)), atol=1.5)
    assert mirrors([seen], 2.0)
    of_the_animal = Teacher(Spots()).views(frame)  # the left paw stays the left one in a mirror: names say nothing
    assert not mirrors([of_the_animal], 2.0)
    places = agreed(of_the_animal, [], 2.0, mirror=False).keypoints
    np.testing.assert_allclose(places, [[20, 30], [60, 40]], atol=1.5)


def pose(*places: tuple[float, float, float]) -> np.ndarray:
    return np.array(places, np.float32)


def test_what_is_unsure_or_jumps_is_left_open() -> None:
    sure = pose((10, 10, 0.9), (50, 50, 0.9), (30, 30, 0.01), (70, 70, 0.3))
    views = np.stack([sure] * 4)
    views[1:3, 1, 0] += 20  # half of the views find another place
    answer = agreed(views, [], 2.0, mirror=True)
    assert answer.known.tolist() == [True, False, True, False]
    np.testing.assert_allclose(answer.keypoints[0], [10, 10])
    assert np.isnan(answer.keypoints[1:]).all()
    still, away = pose((10, 10, 0.9)), pose((40, 10, 0.9))
    assert not agreed(np.stack([away] * 4), [still, still], 2.0, mirror=True).known[0]
    assert agreed(np.stack([away] * 4), [still, pose((68, 10, 0.9))], 2.0, mirror=True).known[0]
    assert agreed(np.stack([away] * 4), [still, pose((10, 10, 0.1))], 2.0, mirror=True).known[0]


def test_answers_outlive_a_kill(tmp_path: Path) -> None:
    def fill(answers: Answers, numbers: range) -> None:
        for number in numbers:
            row = Row(number=number, apart=number > 2, views=[[(1.0, 2.0, 0.9)]] * 4)
            answers.add(row, np.full((6, 8), number, np.uint8))

    fill(Answers(tmp_path / "0", "clip", 6, 8), range(4))
    for path, rest in ((tmp_path / "0.frames", b"x" * 20), (tmp_path / "0.answers", b'{"number":4,"apart":fal')):
        path.write_bytes(path.read_bytes() + rest)
    again = Answers(tmp_path / "0", "clip", 6, 8)
    assert [row.number for row in again.rows] == [0, 1, 2, 3]
    fill(again, range(4, 6))
    with (tmp_path / "0.frames").open("r+b") as file:
        file.truncate(6 * 8 * 5 + 10)  # the disk lost the last picture, not its answer
    last = Answers(tmp_path / "0", "clip", 6, 8)
    assert [row.number for row in last.rows] == [0, 1, 2, 3, 4]
    frames = last.labelled(mirror=True)
    assert [int(frame.read()[0, 0, 0]) for frame in frames] == [0, 1, 2]
    assert [int(stored.grey()[0, 0]) for _, stored in last.apart()] == [3, 4]


def test_distances_count_where_the_teacher_is_sure() -> None:
    teacher = np.zeros((4, 2, 3), np.float32)
    teacher[..., 2] = 0.9
    teacher[3, :, 2] = 0.1
    student = teacher.copy()
    student[0, 0, 0], student[1, 1, 1], student[3, :, 0] = 1.5, 4.0, 500.0
    figures, farthest = distance(student, teacher)
    assert (figures.frames, figures.places, figures.max_px) == (3, 6, 4.0)
    assert figures.within == {"1": pytest.approx(4 / 6), "2": pytest.approx(5 / 6), "5": 1.0}
    np.testing.assert_allclose(farthest, [1.5, 4.0, 0.0, -1.0])
    teacher[..., 2] = 0.1
    with pytest.raises(ModelError, match="sure of no body part"):
        distance(student, teacher)
