"""Ask the teacher about the picked frames of a video."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from posestream.inference.distilling.answers import Answers, Row, sure_share
from posestream.inference.distilling.picking import Recording, grey, read_picked
from posestream.inference.distilling.teacher import Poses, Teacher
from posestream.inference.engines.quantise import spread_frames
from posestream.inference.errors import ModelError

__all__ = ["ask", "seconds_to_ask"]

LEAST_SURE = 0.1
"""Share of a video's frames that the teacher must be sure of."""
LOOKED_AT_FIRST = 12
"""Frames all over a video; where the teacher is sure of none of them, it is asked no more."""


def ask(
    teacher: Teacher,
    name: str,
    recording: Recording,
    answers: Answers,
    show: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Ask about all frames that have no answer yet.

    Parameters
    ----------
    teacher, name
        Whom, and what it is called.
    recording
        The video, and what was picked of it.
    answers
        Where the answers go.
    show
        Called after each frame with the frames done and the frames in all.

    Raises
    ------
    ModelError
        The teacher is unsure of nearly all frames, or the disk is full.
    VideoError
        The video can't be read any more.
    """
    if not answers.rows:
        first = _first_look(teacher, Path(recording.path))
        if first and not sure_share(first):
            _refuse_unsure(name, recording, first)
    learnt = set(recording.learnt)
    numbers = [*recording.learnt, *recording.apart]
    asked = {row.number for row in answers.rows}
    left = [number for number in numbers if number not in asked]
    for number, before, frame, behind in read_picked(Path(recording.path), left) if left else ():
        if number in learnt:
            views = teacher.views(frame)
            near = [teacher.plain(other) for other in (before, behind) if other is not None]
        else:
            views, near = teacher.plain(frame)[None], []
        row = Row(number=number, apart=number not in learnt, views=_rows(views), near=[_row(pose) for pose in near])
        answers.add(row, grey(frame))
        show(len(answers.rows), len(numbers))
    _refuse_unsure(name, recording, [row.plain for row in answers.rows])


def _first_look(teacher: Teacher, video: Path) -> list[Poses]:
    """Poses of some frames all over a video; none where it does not say how long it is."""
    try:
        frames = spread_frames(video, LOOKED_AT_FIRST, None)
    except ModelError:
        return []
    return [teacher.plain(frame) for frame in frames]


def _refuse_unsure(name: str, recording: Recording, poses: Sequence[Poses]) -> None:
    share = sure_share(poses)
    if share < LEAST_SURE:
        raise ModelError(
            f"{name} is unsure of {1 - share:.0%} of {len(poses)} frames of {recording.path}, so there is nothing to "
            "learn. Is this a video of the animals and the view that it was trained on?"
        )


def seconds_to_ask(teacher: Teacher, height: int, width: int) -> float:
    """Time the teacher on a frame to learn from, with its neighbours."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 1), np.uint8)
    teacher.views(noise)  # compiles
    began = time.perf_counter()
    teacher.views(noise)
    for _ in range(2):
        teacher.plain(noise)
    return time.perf_counter() - began


def _rows(poses: Poses) -> list[list[tuple[float, float, float]]]:
    return [_row(pose) for pose in poses]


def _row(pose: Poses) -> list[tuple[float, float, float]]:
    return [(round(x, 3), round(y, 3), round(likelihood, 5)) for x, y, likelihood in pose.tolist()]
