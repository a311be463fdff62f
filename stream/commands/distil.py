"""The command `distil`: videos and a large network in, a small network and a report out.

Only here do the distillation and the arena meet.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np

from posestream.acquisition.arena import KEYPOINTS
from posestream.inference.distilling.answers import Answers
from posestream.inference.distilling.asking import ask, seconds_to_ask
from posestream.inference.distilling.finishing import can_quantise, keep_report, put_together, refuse_far
from posestream.inference.distilling.measuring import label_errors, measure_distance, measure_speeds, student_engines
from posestream.inference.distilling.picking import Recording, pick, survey_video
from posestream.inference.distilling.recipe import pools, recipe, steps_within
from posestream.inference.distilling.report import PICTURE, Report, TaughtBy, Video
from posestream.inference.distilling.teacher import SURE, Teacher, mirrors, tolerance_px
from posestream.inference.distilling.work import Asked, Chosen, Work
from posestream.inference.engines import open_engine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.models import load_model
from posestream.inference.training.batches import Pool
from posestream.inference.training.labels import LabelledFrame, labels_for, read_labels, split_frames
from posestream.inference.training.plan import TrainingPlan
from posestream.inference.training.start import StudentSize, student_bundle
from posestream.inference.training.trainer import Progress as Look
from posestream.inference.training.trainer import Trainer
from posestream.stream.commands.train import arena_frames
from posestream.stream.offline.progress import Progress
from posestream.stream.wire.counters import WorkProgress

__all__ = ["Screen", "Settings", "distil_network", "fitting_arena"]

APART = 150
"""Frames kept apart that distances are measured on, of all videos together."""
LABELS_APART = 0.15
LOOKED_AT = 6
"""Frames kept apart that are looked at while the student learns."""
ARENA_LOOKED_AT = 8
ARENA_SEEDS = 10_000
"""Between the first arenas of two seeds; each arena gives eight frames."""
ASKING_SHARE = 0.25
"""Of the hours, at most, that the teacher is asked for."""
ENDING_S = 180.0
"""Seconds that the int8 graph and the report take."""
LEAST_TRAINING_S = 60.0
FEWEST_LEARNT = 40


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The command's options."""

    labels: Path | None = None
    """A DeepLabCut project whose labels are mixed in."""
    size: StudentSize = "small"
    hours: float = 1.0
    """For all of it, about."""
    steps: int = 0
    """Of the training; 0: as many as the hours have time for. Where it is given, nothing depends on the clock."""
    frames: int = 600
    """To learn from, of all videos together."""
    arena: int = 400
    """Frames of the arena, where the teacher knows its mouse."""
    accept: float | None = None
    """Largest median distance from the teacher, pixels; by default a hundredth of the diagonal."""
    seed: int = 0
    resume: bool = False


@dataclass(frozen=True)
class Screen:
    """Where people see what is being done, and how far it is."""

    tell: Callable[[str], None] = lambda _: None
    show: Callable[[Mapping[str, WorkProgress]], None] = lambda _: None

    def counting(self, name: str, unit: str = "frames") -> Callable[[int, int], None]:
        """Give a function that takes what is done and what is to be, and shows it with the time left."""
        began, first = 0.0, -1

        def tell(done: int, total: int) -> None:
            nonlocal began, first
            if first < 0:
                began, first = time.monotonic(), done
            seconds = time.monotonic() - began
            self.show(Progress(name, done - first, total - first, seconds, before=first, unit=unit).by_name)

        return tell


def distil_network(
    teacher: Path, videos: Sequence[Path], output: Path, settings: Settings, screen: Screen | None = None
) -> Report:
    """Distil, and write the bundle.

    Parameters
    ----------
    teacher
        Any network that `load_model` loads.
    videos
        Of the animals and the view that it is to be fast on.
    output
        The bundle.
    settings
        See there.
    screen
        What is done is shown there.

    Raises
    ------
    ModelError, VideoError
        Something can't be read or written; the teacher is unsure of nearly all frames; or the student ends too far from
        its teacher. What was done is kept for another try.
    """
    began, screen = time.monotonic(), screen or Screen()
    known = load_model(teacher)
    kept, held = _labels(known, settings)
    sizes = {str(video.absolute()): _bytes(video) for video in videos}
    asked = Asked(teacher_sha256=known.digest(), videos=sizes, frames=settings.frames, seed=settings.seed)
    work = Work(output, asked, resume=settings.resume)
    if not can_quantise():
        screen.tell('NNCF is not installed, so there will be no int8 graph: pip install "posestream[optimize]"')
    asking = Teacher(open_engine(known))
    recordings = _picked(work, asking, list(sizes), settings, screen)
    answers = _asked(work, asking, known.spec.name, recordings, screen)
    mirror = mirrors(
        [np.array(row.views, np.float32) for each in answers for row in each.rows if not row.apart],
        max(tolerance_px(each.width, each.height) for each in answers),
    )
    taught = [frame for each in answers for frame in each.labelled(mirror=mirror)]
    if not taught:
        raise ModelError(f"{known.spec.name} sees another thing in each view of a frame: there is nothing to learn.")
    arena = fitting_arena(asking, known.spec.bodyparts, settings)
    screen.tell(f"{len(taught)} frames of videos, {len(kept)} labelled and {len(arena)} of the arena to learn from")
    start = student_bundle(known.spec, settings.size, name=output.name, seed=settings.seed)
    found = pools(taught, kept, arena)
    left_s = max(LEAST_TRAINING_S, settings.hours * 3600 - (time.monotonic() - began) - ENDING_S)
    plan = _plan(work, start, found, settings, mirror, left_s, screen)
    trained = _trained(work, start, plan, found, _looked_at(answers), screen)
    screen.tell("making the int8 graph and measuring" if can_quantise() else "measuring")
    student = put_together(trained, work.bundle, answers)
    engines = student_engines(student, int8=can_quantise())
    report = Report(
        teacher=TaughtBy(name=known.spec.name, net_type=known.spec.net_type, sha256=known.digest()),
        student=student.spec,
        videos=[_video(*each, mirror) for each in zip(recordings, answers, strict=True)],
        labels=settings.labels.name if settings.labels else "",
        labelled=len(kept),
        arena=len(arena),
        mirrored=mirror,
        plan=msgspec.to_builtins(plan),
        distance=measure_distance(engines, answers, work.bundle / PICTURE),
        errors=label_errors(known, engines, held),
        speeds=measure_speeds(known, student, answers[0], int8=can_quantise()),
        size=f"{answers[0].width}x{answers[0].height}",
    )
    keep_report(report, work.bundle)
    diagonal = max(float(np.hypot(each.width, each.height)) for each in answers)
    refuse_far(report, diagonal, settings.accept, work.bundle)
    work.deliver()
    return report


def _labels(known: ModelBundle, settings: Settings) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """Labelled frames to learn from, and those kept apart."""
    if settings.labels is None:
        return [], []
    frames = labels_for(known.spec.bodyparts, read_labels(settings.labels), known.spec.name)
    kept, held = split_frames(len(frames), holdout=LABELS_APART, seed=settings.seed)
    return [frames[number] for number in kept], [frames[number] for number in held]


def _picked(work: Work, teacher: Teacher, videos: Sequence[str], settings: Settings, screen: Screen) -> list[Recording]:
    """Pick frames of all videos, no more than the teacher can be asked about in time."""
    if (recordings := work.picked) is not None:
        return recordings
    surveys = []
    for video in videos:
        screen.tell(f"looking through {Path(video).name}")
        surveys.append(survey_video(Path(video), screen.counting(Path(video).name)))
    frames = settings.frames
    if not settings.steps:
        largest = max(surveys, key=lambda survey: survey.height * survey.width)
        each_s = seconds_to_ask(teacher, largest.height, largest.width)
        frames = max(FEWEST_LEARNT, min(frames, int(ASKING_SHARE * settings.hours * 3600 / each_s)))
    share, apart = (-(-number // len(videos)) for number in (frames, APART))
    work.picked = recordings = [pick(survey, share, apart, settings.seed) for survey in surveys]
    return recordings


def _asked(work: Work, teacher: Teacher, name: str, recordings: Sequence[Recording], screen: Screen) -> list[Answers]:
    """Ask the teacher what it was not asked yet."""
    found = []
    for number, recording in enumerate(recordings):
        answers = work.answers(number, recording)
        count = len(recording.learnt) + len(recording.apart)
        if len(answers.rows) < count:
            screen.tell(f"asking {name} about {count} frames of {answers.name}")
        ask(teacher, name, recording, answers, screen.counting(answers.name))
        found.append(answers)
    return found


def fitting_arena(teacher: Teacher, bodyparts: Sequence[str], settings: Settings) -> list[LabelledFrame]:
    """Give frames of the arena where the teacher finds its mouse's body parts; else none."""
    if not set(bodyparts) <= set(KEYPOINTS) or not settings.arena:
        return []
    first = settings.seed * ARENA_SEEDS
    apart = [
        np.hypot(*(teacher.plain(frame.read())[:, :2] - frame.keypoints).T)
        for frame in arena_frames(ARENA_LOOKED_AT, bodyparts, first)
    ]
    return arena_frames(settings.arena, bodyparts, first) if np.median(apart) <= tolerance_px(640, 480) else []


def _plan(
    work: Work,
    start: ModelBundle,
    found: Sequence[Pool],
    settings: Settings,
    mirror: bool,
    left_s: float,
    screen: Screen,
) -> TrainingPlan:
    """Choose how the student is trained, or give what was chosen."""
    labels = str(settings.labels.absolute()) if settings.labels else ""
    chosen = work.chosen(settings.size, settings.hours, settings.steps, labels)
    if chosen is not None:
        return chosen.plan
    plan = recipe(start, settings.steps or 1, seed=settings.seed, mirror=mirror)
    if not settings.steps:
        screen.tell("timing some steps")
        steps = steps_within(left_s, start, plan, found, work.folder / "trial", screen.tell)
        plan = recipe(start, steps, seed=settings.seed, mirror=mirror)
    work.choose(Chosen(size=settings.size, hours=settings.hours, steps=settings.steps, labels=labels, plan=plan))
    return plan


def _trained(
    work: Work,
    start: ModelBundle,
    plan: TrainingPlan,
    found: Sequence[Pool],
    looked_at: Sequence[LabelledFrame],
    screen: Screen,
) -> ModelBundle:
    """Train, from where an earlier try was stopped."""
    trainer = Trainer(start, plan, work.training, pools=found, held_back=looked_at)
    if trainer.resume():
        screen.tell(f"going on after step {trainer.step} of {plan.steps}")
    counting = screen.counting("learning", "steps")
    counting(trainer.step, plan.steps)

    def look(progress: Look) -> None:
        far = ", ".join(f"{errors.median_px:.1f} px at scale {errors.factor:g}" for errors in progress.held_back)
        left = timedelta(seconds=round((plan.steps - progress.step) * progress.seconds_per_step))
        screen.tell(
            f"step {progress.step} of {plan.steps}: loss {progress.loss:.4f}; median distance from the teacher {far}; "
            f"{left} left"
        )

    trainer.run(look, each=lambda step: counting(step, plan.steps))
    return trainer.bundle()


def _looked_at(answers: Sequence[Answers]) -> list[LabelledFrame]:
    """Give some of the frames kept apart, with the teacher's poses in the place of labels."""
    frames = []
    for each in answers:
        apart = each.apart()
        for row, picture in apart[:: max(1, len(apart) * len(answers) // LOOKED_AT)]:
            sure = row.plain[:, 2] >= SURE
            keypoints = np.where(sure[:, None], row.plain[:, :2], np.nan).astype(np.float64)
            frames.append(LabelledFrame(f"{each.name}, frame {row.number}", picture, keypoints, sure))
    return frames[:LOOKED_AT]


def _video(recording: Recording, answers: Answers, mirror: bool) -> Video:
    path, learnt = Path(recording.path), len(answers.labelled(mirror=mirror))
    return Video(
        name=path.name,
        bytes=_bytes(path),
        frames=recording.frames,
        learnt=learnt,
        left_out=len(recording.learnt) - learnt,
        apart=len(recording.apart),
    )


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
