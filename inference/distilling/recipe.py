"""How a student is trained, and for how long."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from posestream.inference.engines import engine_class
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.training.batches import Pool
from posestream.inference.training.labels import LabelledFrame
from posestream.inference.training.plan import TrainingPlan
from posestream.inference.training.trainer import Progress, Trainer

__all__ = ["pools", "recipe", "steps_within"]

TIMED_STEPS = 8
FEWEST_STEPS = 200
LABEL_WEIGHT, ARENA_WEIGHT = 2.5, 0.6
"""How often a labelled frame and one of the arena are seen for each time that one of the teacher's is."""


def recipe(start: ModelBundle, steps: int, *, seed: int, mirror: bool) -> TrainingPlan:
    """Give the plan of a student's training.

    It is that of the first student that was made here (docs/decisions): large steps and an average of the weights, and
    batch norm, as it begins with nothing.

    Parameters
    ----------
    start
        The student with random weights.
    steps, seed, mirror
        As in `TrainingPlan`.
    """
    try:
        fast = "bfloat16" in engine_class("openvino").candidates(start)
    except ModelError:
        fast = False
    return TrainingPlan(
        steps=steps,
        batch_pixels=24 * 160 * 160,
        batch_norm=True,
        learning_rate=2e-3,
        weight_decay=0.01,
        averaging=0.998,
        warm_up_steps=min(100, steps // 10),
        smallest_scale=0.22,
        largest_scale=1.15,
        locref_weight=0.15,
        disc_px=10.0,
        mirror=mirror,
        precision="mixed_bfloat16" if fast else "float32",
        seed=seed,
        evaluate_steps=min(250, steps),
        checkpoint_steps=100,
    )


def pools(
    taught: Sequence[LabelledFrame], labelled: Sequence[LabelledFrame], arena: Sequence[LabelledFrame]
) -> list[Pool]:
    """Give the frames to learn from with their shares."""
    weights = {LABEL_WEIGHT: labelled, ARENA_WEIGHT: arena, 1.0: taught}
    total = sum(weight * len(frames) for weight, frames in weights.items())
    return [Pool(frames, weight * len(frames) / total) for weight, frames in weights.items()]


def steps_within(
    seconds: float,
    start: ModelBundle,
    plan: TrainingPlan,
    found: Sequence[Pool],
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Time some steps, and give how many there is time for.

    Parameters
    ----------
    seconds
        That the training may take.
    start, plan, found
        The training.
    folder
        Where the trial may write; it is removed.
    tell
        Says it to people.
    """
    seen: list[Progress] = []
    trial = msgspec.structs.replace(
        plan, steps=2 * TIMED_STEPS, warm_up_steps=0, evaluate_steps=TIMED_STEPS, checkpoint_steps=100
    )
    Trainer(start, trial, folder, pools=found).run(seen.append)
    shutil.rmtree(folder, ignore_errors=True)
    each = seen[-1].seconds_per_step  # of the second half: the first compiles
    steps = max(FEWEST_STEPS, int(seconds / each))
    tell(f"{each:.2f} s a step: {steps} steps in {steps * each / 60:.0f} minutes")
    return steps
