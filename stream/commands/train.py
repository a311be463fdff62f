"""The command `train`: labels and the arena's frames in, a bundle and its errors out.

Only here do the trainer and the arena meet.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.arena import KEYPOINTS, Arena
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle, StorageType
from posestream.inference.formats.models import load_model
from posestream.inference.formats.project_files import find_skeleton
from posestream.inference.training.batches import Pool
from posestream.inference.training.checkpoints import CHECKPOINT_FILE
from posestream.inference.training.evaluation import Errors, evaluate
from posestream.inference.training.labels import LabelledFrame, read_labels, split_frames
from posestream.inference.training.plan import TrainingPlan
from posestream.inference.training.progress import CURVES_FILE
from posestream.inference.training.start import start_bundle
from posestream.inference.training.trainer import Progress, Trainer

__all__ = ["TrainingSettings", "arena_frames", "show_errors", "train_network"]

FRAMES_PER_ARENA = 8
STEPS_BETWEEN = 20
"""Frames of 1/30 s that the mouse goes on between two that are kept."""
EXPOSURES_US = (1000.0, 2000.0, 5000.0, 10_000.0, 25_000.0)
UNSEEN_SEEDS = 1_000_000
"""Arenas with seeds from here on are never trained on."""
UNSEEN_FRAMES = 24


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What a training is made of, beside the project."""

    start: Path
    """The network to start from."""
    plan: TrainingPlan
    holdout: float = 0.1
    """Share of the labelled frames that is held back."""
    folds: int | None = None
    """For cross-validation: one of so many parts of them is held back instead."""
    fold: int = 1
    """Number of that part, from 1."""
    arena: int = 0
    """Frames of the arena that are mixed in."""
    arena_share: float = 0.3
    """Of the crops, where there are such frames."""
    resume: bool = False
    """Go on from the last checkpoint, where there is one."""
    dtype: StorageType = "float32"
    """How the bundle stores weights."""


def train_network(
    project: Path, output: Path, settings: TrainingSettings, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Train, and write the bundle.

    Parameters
    ----------
    project
        DeepLabCut's.
    output
        The bundle to make; the checkpoint, the log and the curves lie beside it.
    settings
        How.
    tell
        Told what is being done, a line at a time.

    Returns
    -------
    dict
        `output`, `seconds`, `frames` and `held_back` (numbers of labelled frames), and `errors`, of the written bundle:
        by `labels` and `arena` a list of `Errors`, where there was something to compare with.

    Raises
    ------
    ModelError
        The project, the start or the folder is not as it must be.
    """
    plan, beside = settings.plan, output.with_name(f"{output.name}.training")
    _refuse_to_overwrite(output, beside, resume=settings.resume)
    labels = read_labels(project)
    kept, held = split_frames(
        len(labels.frames), holdout=settings.holdout, folds=settings.folds, fold=settings.fold, seed=plan.seed
    )
    skeleton = find_skeleton(project, labels.bodyparts)
    tell(f"loading the network to start from: {settings.start}")
    start = load_model(settings.start)
    trainer = Trainer(
        start_bundle(start, labels.bodyparts, name=output.name, skeleton=skeleton, seed=plan.seed),
        plan,
        beside,
        pools=[
            Pool(arena_frames(settings.arena, labels.bodyparts, first_seed=plan.seed * 10_000), settings.arena_share),
            Pool([labels.frames[number] for number in kept], 1.0 - settings.arena_share),
        ],
        held_back=[labels.frames[number] for number in held],
    )
    if settings.resume and trainer.resume():
        tell(f"going on after step {trainer.step}")
    tell(f"{len(kept)} labelled frames and {settings.arena} of the arena to train on, {len(held)} held back")
    began = time.perf_counter()
    trainer.run(lambda progress: tell(_line(progress, plan.steps)))
    seconds = time.perf_counter() - began
    if not (beside / CURVES_FILE).exists():
        tell('no learning curves: Matplotlib is not installed (pip install "posestream[train]")')
    trainer.bundle().save(output, settings.dtype)
    compared = {"labels": [labels.frames[number] for number in held]}
    if settings.arena:
        compared["arena"] = arena_frames(UNSEEN_FRAMES, labels.bodyparts, first_seed=UNSEEN_SEEDS)
    return {
        "output": str(output),
        "seconds": round(seconds, 1),
        "frames": len(kept),
        "held_back": len(held),
        "errors": _errors(ModelBundle.load(output), compared),
    }


def _refuse_to_overwrite(output: Path, beside: Path, *, resume: bool) -> None:
    if output.exists():
        raise ModelError(f"{output} exists already. Name a new folder, or remove it first.")
    if not resume and (beside / CHECKPOINT_FILE).exists():
        raise ModelError(
            f"{beside} holds the checkpoint of an earlier training. Go on from it with --resume, or remove that folder."
        )


def arena_frames(count: int, bodyparts: Sequence[str], first_seed: int) -> list[LabelledFrame]:
    """Make frames of the arena, 640x480, whose body parts are known where it has them by the same name.

    Arenas differ in their exposure, and each fourth is in colour.

    Parameters
    ----------
    count
        How many.
    bodyparts
        Names of the K body parts.
    first_seed
        Of the first arena; each gives a few frames.

    Raises
    ------
    ModelError
        The arena has none of these body parts.
    """
    if not count:
        return []
    if not set(bodyparts) & set(KEYPOINTS):
        raise ModelError(f"The arena knows {', '.join(KEYPOINTS)}, none of which the project has. Leave --arena out.")
    known = np.array([part in KEYPOINTS for part in bodyparts])
    frames: list[LabelledFrame] = []
    for number in range(count):
        if number % FRAMES_PER_ARENA == 0:
            seed = first_seed + number // FRAMES_PER_ARENA
            in_colour = seed % 4 == 3
            arena = Arena(seed=seed, exposure_us=EXPOSURES_US[seed % len(EXPOSURES_US)], colour=in_colour)
        else:
            for _ in range(STEPS_BETWEEN):
                arena.advance()
        pixels = np.empty((480, 640, 3) if in_colour else (480, 640), np.uint8)
        arena.render(pixels)
        truth = dict(zip(KEYPOINTS, arena.keypoints, strict=True))
        keypoints = np.array([truth.get(part, (np.nan, np.nan)) for part in bodyparts])
        frames.append(LabelledFrame(f"arena {seed}, frame {arena.frame_seq}", _Pixels(pixels), keypoints, known))
    return frames


def show_errors(result: dict[str, Any]) -> list[str]:
    """Lines of a table for people."""
    lines = [f"made {result['output']} in {result['seconds'] / 60:.1f} minutes"]
    for name, found in result["errors"].items():
        for errors in found:
            parts = ", ".join(f"{part} {px:.1f}" for part, px in errors["parts"].items())
            lines.append(
                f"{name:<8}at scale {errors['factor']:<5g}RMSE {errors['rmse_px']:.1f} px (median "
                f"{errors['median_px']:.1f}; {parts}), mean likelihood {errors['likelihood']:.2f}"
            )
    return lines


class _Pixels:
    """Gives a picture as RGB; what is grey is kept grey, as a third of the memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __call__(self) -> NDArray[np.uint8]:
        return self._pixels if self._pixels.ndim == 3 else np.repeat(self._pixels[..., None], 3, axis=-1)


def _errors(bundle: ModelBundle, compared: dict[str, list[LabelledFrame]]) -> dict[str, Any]:
    """Errors of a bundle, run as it will be run."""
    from posestream.inference.networks.network import build_network

    network = build_network(bundle, pixel_format="rgb24")

    def predict(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array(network(pixels, training=False), np.float32)

    return {
        name: [asdict(errors) for errors in evaluate(predict, bundle.spec.bodyparts, frames)]
        for name, frames in compared.items()
        if frames
    }


def _line(progress: Progress, steps: int) -> str:
    def error(errors: Errors) -> str:
        return f"{errors.rmse_px:.1f} px at scale {errors.factor:g}"

    held = ", ".join(map(error, progress.held_back))
    text = f"step {progress.step} of {steps}: loss {progress.loss:.4f}, {progress.seconds_per_step:.2f} s a step"
    return f"{text}; RMSE of frames held back {held}" if held else text
