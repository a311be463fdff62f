"""What a distillation ends with, in words and as JSON, both kept in the bundle."""

from typing import Any, Literal

import msgspec

from posestream.inference.distilling.figures import WITHIN_PX, Distance, LabelErrors, Speed
from posestream.inference.formats.bundle import ModelSpec

__all__ = ["PICTURE", "REPORT", "WORDS", "Report", "TaughtBy", "Video", "words"]

REPORT, WORDS, PICTURE = "distilled.json", "distilled.txt", "distilled.jpg"


class TaughtBy(msgspec.Struct, frozen=True, kw_only=True):
    """The teacher."""

    name: str
    net_type: str
    sha256: str
    """Its digest, as in `session.json`."""


class Video(msgspec.Struct, frozen=True, kw_only=True):
    """What was used of a video."""

    name: str
    bytes: int
    frames: int
    learnt: int
    """Frames that the student learnt from; the teacher was sure of something in them."""
    left_out: int
    """Frames that were picked, and of which the teacher was unsure."""
    apart: int
    """Frames of its last third that distances were measured on."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Schema of `distilled.json`."""

    format: Literal["posestream distillation"] = "posestream distillation"
    version: Literal[1] = 1
    teacher: TaughtBy
    student: ModelSpec
    videos: list[Video]
    labels: str
    """Name of the project whose labels were mixed in; empty where none were."""
    labelled: int
    """Labelled frames that it learnt from."""
    arena: int
    """Frames of the arena that it learnt from."""
    mirrored: bool
    """Whether mirrored frames were used: not where the teacher finds other places in them."""
    plan: dict[str, Any]
    """Of the training."""
    distance: dict[str, Distance]
    """From the teacher, on frames kept apart, by the student's precision."""
    errors: dict[str, list[LabelErrors]]
    """From labels kept apart, by `teacher`, and the student's precision."""
    speeds: list[Speed]
    size: str
    """Of the frames that both were timed on, `640x480`."""


def words(report: Report) -> list[str]:
    """Lines for people."""
    teacher, student = report.teacher.name, report.student.name
    learnt = sum(video.learnt for video in report.videos)
    left_out = sum(video.left_out for video in report.videos)
    source = f"{learnt} frames of {len(report.videos)} video{'s' if len(report.videos) > 1 else ''}"
    more = [f"{report.labelled} labelled frames"] if report.labelled else []
    more += [f"{report.arena} frames of the arena"] if report.arena else []
    unsure = f"; of {left_out} more frames {teacher} was unsure" if left_out else ""
    lines = [
        f"{student} ({report.student.net_type}) learnt from {teacher} on {', '.join([source, *more])}, in "
        f"{report.plan['steps']} steps{unsure}."
    ]
    if not report.mirrored:
        lines.append(f"In a mirror {teacher} finds other places, so nothing was mirrored.")
    for precision, found in report.distance.items():
        within = ", ".join(f"{found.within[str(limit)]:.1%} within {limit} px" for limit in WITHIN_PX)
        lines.append(
            f"From {teacher}, on {found.frames} frames kept apart, {precision}: median {found.median_px:.2f} px, "
            f"95 % {found.p95_px:.2f} px, largest {found.max_px:.1f} px; {within}"
        )
    for name, errors in report.errors.items():
        who = teacher if name == "teacher" else f"{student} {name}"
        rmse = ", ".join(f"{each.rmse_px:.2f} px at scale {each.factor:g}" for each in errors)
        lines.append(f"From {errors[0].labels} labels kept apart, {who}: RMSE {rmse}")
    for speed in report.speeds:
        who = teacher if speed.network == "teacher" else student
        lines.append(
            f"{who}, {speed.engine} {speed.precision}, {report.size}: {speed.median_ms:.1f} ms a frame "
            f"(99 %: {speed.p99_ms:.1f}), {1000 / speed.median_ms:.0f} frames a second"
        )
    return lines
