"""Measure a finished student: from its teacher, from labels, and both on the clock."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posestream.inference.distilling.answers import Answers
from posestream.inference.distilling.drawing import Drawn, draw_worst
from posestream.inference.distilling.figures import Distance, LabelErrors, Speed, distance, frame_by_frame, speeds
from posestream.inference.engines import open_engine
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.training.evaluation import evaluate
from posestream.inference.training.labels import LabelledFrame

__all__ = ["label_errors", "measure_distance", "measure_speeds", "student_engines"]

WORST = 10

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def student_engines(student: ModelBundle, *, int8: bool) -> dict[str, Predict]:
    """Run the student in float32, and in int8 where it has that graph."""
    precisions = ("float32", "int8") if int8 else ("float32",)
    return {precision: frame_by_frame(open_engine(student, "openvino", precision)) for precision in precisions}


def measure_distance(student: dict[str, Predict], answers: Sequence[Answers], picture: Path) -> dict[str, Distance]:
    """Compare the student in each precision with its teacher on the frames kept apart.

    Parameters
    ----------
    student
        As `student_engines` gives it.
    answers
        Of each video.
    picture
        Where the worst frames of the first precision are drawn.

    Raises
    ------
    ModelError
        The teacher is sure of nothing there, or the picture can't be written.
    """
    frames = [(found.name, *each) for found in answers for each in found.apart()]
    taught = np.stack([row.plain for _, row, _ in frames])
    figures: dict[str, Distance] = {}
    for precision, predict in student.items():
        poses = np.concatenate([predict(stored.grey()[None, ..., None]) for _, _, stored in frames])
        figures[precision], farthest = distance(poses, taught)
        if len(figures) == 1:
            worst = [int(place) for place in np.argsort(-farthest)[:WORST] if farthest[place] >= 0]
            drawn = [
                Drawn(
                    f"{frames[place][0]}, frame {frames[place][1].number}: {farthest[place]:.1f} px",
                    frames[place][2].grey(),
                    taught[place],
                    poses[place],
                )
                for place in worst
            ]
            draw_worst(picture, drawn)
    return figures


def label_errors(
    teacher: ModelBundle, student: dict[str, Predict], held_back: Sequence[LabelledFrame]
) -> dict[str, list[LabelErrors]]:
    """Compare teacher and student with labels that the student was not trained on; nothing where there are none."""
    if not any(np.isfinite(frame.keypoints).any() for frame in held_back):
        return {}
    predicts = {"teacher": frame_by_frame(open_engine(teacher)), **student}
    return {
        name: [
            LabelErrors(
                factor=errors.factor,
                labels=errors.labels,
                rmse_px=errors.rmse_px,
                median_px=errors.median_px,
                parts={part: px for part, px in errors.parts.items() if np.isfinite(px)},
            )
            for errors in evaluate(predict, teacher.spec.bodyparts, held_back)
        ]
        for name, predict in predicts.items()
    }


def measure_speeds(teacher: ModelBundle, student: ModelBundle, answers: Answers, *, int8: bool) -> list[Speed]:
    """Time both networks on frames of a video."""
    pictures = [stored.grey() for _, stored in answers.apart()]
    return speeds(teacher, student, pictures, int8=int8)
