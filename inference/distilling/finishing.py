"""From a trained student to a bundle: its int8 graph, the report, and whether it is a student at all."""

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np

from posestream.inference.distilling.answers import Answers
from posestream.inference.distilling.report import REPORT, WORDS, Report, words
from posestream.inference.engines.int8 import Calibration, save_int8
from posestream.inference.engines.quantise import quantise
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle

__all__ = ["can_quantise", "keep_report", "put_together", "refuse_far"]

CALIBRATING = 48
FARTHEST = 0.01
"""Of the frame's diagonal: a student whose median distance is larger is none."""


def can_quantise() -> bool:
    """Say whether what makes int8 graphs is installed."""
    return find_spec("nncf") is not None


def put_together(student: ModelBundle, folder: Path, answers: Sequence[Answers]) -> ModelBundle:
    """Save a student with its int8 graph, where that can be made; gives it as it was saved.

    Parameters
    ----------
    student
        The student.
    folder
        Of the bundle; what is there is removed.
    answers
        Of each video: frames of the one with the most are what the graph is calibrated on.

    Raises
    ------
    ModelError
        The folder can't be written to.
    """
    shutil.rmtree(folder, ignore_errors=True)
    student.save(folder, "float16")
    saved = ModelBundle.load(folder)
    if can_quantise():
        found = max(answers, key=lambda each: len(each.rows))
        places = [place for place, row in enumerate(found.rows) if not row.apart]
        spread = np.linspace(0, len(places) - 1, min(CALIBRATING, len(places))).round().astype(int)
        frames = np.stack([found.picture(places[place])() for place in spread])
        versions = {package: version(package) for package in ("nncf", "openvino")}
        about = Calibration(
            video=found.name, frames=len(frames), width=found.width, height=found.height, versions=versions
        )
        save_int8(quantise(saved, frames), saved, about)
    return saved


def keep_report(report: Report, folder: Path) -> None:
    """Write the report into a bundle.

    Raises
    ------
    ModelError
        It can't be written.
    """
    try:
        (folder / REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        (folder / WORDS).write_text("\n".join(words(report)) + "\n", encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{folder} cannot be written: {error.strerror or error}.") from error


def refuse_far(report: Report, diagonal_px: float, accept: float | None, folder: Path) -> None:
    """Refuse a student that is far from its teacher.

    Parameters
    ----------
    report
        Of the student.
    diagonal_px
        Of the largest frames.
    accept
        The largest median distance, pixels; by default a hundredth of the diagonal.
    folder
        Where the report lies.

    Raises
    ------
    ModelError
        It is far; the text says how far, and what to try.
    """
    limit = FARTHEST * diagonal_px if accept is None else accept
    found = report.distance["float32"].median_px
    if found > limit:
        raise ModelError(
            f"The student ends {found:.1f} px (median) from {report.teacher.name} on frames kept apart, more than "
            f"{limit:.1f} px, so it is not put in its place. Try more --hours or --size medium, with --resume, which "
            f"keeps the teacher's answers; or more videos. {folder} holds the report and the worst frames, and "
            "--accept PX takes the student as it is."
        )
