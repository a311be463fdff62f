"""`python -m posestream.inference.live.trial`: which engines run here, and how fast, as JSON.

Where a job of inference comes on stdin, as JSON, its model is tried, and then what it asks for, on the frames that its
cameras will publish. A process of its own: an engine whose library crashes on this machine takes nothing else with it.
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Precision
from posestream.inference.engines import engine_class, engine_names, open_engine
from posestream.inference.engines.check import run_batches
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.bundled import bundled_networks, find_model
from posestream.inference.formats.models import load_model
from posestream.inference.live.expected import measure_expected
from posestream.inference.live.process import prepare_engine
from posestream.stream.wire.details import MeasuredNetwork
from posestream.stream.wire.jobs import InferenceJob

__all__ = ["Trial", "Trials", "main", "try_engines"]

HEIGHT, WIDTH, FRAMES = 240, 320, 8
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How one engine did."""

    engine: str
    precision: str
    frames_per_second: float | None = None
    """One frame of 320x240 pixels at a time."""
    device: str = ""
    """What it runs on, where the engine says so."""
    chosen: str = ""
    """Why `auto` takes it; empty where it does not."""
    error: str = ""
    """Why it can't be used; empty where it can."""


class Trials(msgspec.Struct, frozen=True, kw_only=True):
    """How the engines did."""

    model: str = ""
    """Name of the network."""
    trials: list[Trial]
    details: MeasuredNetwork | None = None
    """None where there was no job, or its engine can't run."""
    error: str = ""
    """Why the model or the job's engine can't be used; empty where they can."""


def try_engines(bundle: ModelBundle) -> list[Trial]:
    """Run a few frames of noise through each engine in each precision, and through what `auto` takes."""
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 1), dtype=np.uint8)
    trials: list[Trial] = []
    for name in engine_names():
        for precision in dict.fromkeys((*PRECISIONS, *_worth_timing(bundle, name))):
            trial = _try(bundle, name, precision, frames)
            if not trial.error or trial.error not in {other.error for other in trials}:  # one that is not installed
                trials.append(trial)
    return [*trials, _try(bundle, "auto", "auto", frames)]


def _worth_timing(bundle: ModelBundle, name: str) -> Sequence[Precision]:
    try:
        return engine_class(name).candidates(bundle)
    except ModelError:
        return ()


def _try(bundle: ModelBundle, name: str, precision: str, frames: NDArray[np.uint8]) -> Trial:
    try:
        engine = open_engine(bundle, name, precision)
        _, per_second = run_batches(engine, frames, "gray8", 1)
    except ModelError as error:
        return Trial(engine=name, precision=precision, error=str(error))
    return Trial(
        engine=engine.name,
        precision=engine.precision,
        frames_per_second=round(per_second, 2),
        device=engine.device,
        chosen=engine.reason,
    )


def try_job(bundle: ModelBundle, job: InferenceJob) -> MeasuredNetwork:
    """Prepare an engine as the job asks, and measure what to expect of it.

    Raises
    ------
    ModelError
        It can't run so here.
    """
    engine = open_engine(bundle, job.engine, job.precision, job.threads or len(job.cpus or ()) or None)
    prepare_engine(engine, job)
    expected = measure_expected(engine, job)
    return MeasuredNetwork(name=bundle.spec.name, engine=engine.name, precision=engine.precision, expected=expected)


def run_trials(job: InferenceJob | None) -> Trials:
    """Try the engines with the job's model, or with one that comes with the package."""
    try:
        bundle = load_model(find_model(job.model, Path(job.rig_folder)) if job is not None else bundled_networks()[0])
    except ModelError as error:
        return Trials(trials=[], error=str(error))
    trials = try_engines(bundle)
    try:
        details = try_job(bundle, job) if job is not None and job.streams else None
    except ModelError as error:
        return Trials(model=bundle.spec.name, trials=trials, error=str(error))
    return Trials(model=bundle.spec.name, trials=trials, details=details)


def main() -> None:
    """Print the trials."""
    logging.disable(logging.WARNING)
    given = sys.stdin.buffer.read()
    job = msgspec.json.decode(given, type=InferenceJob) if given else None
    sys.stdout.buffer.write(msgspec.json.encode(run_trials(job)))


if __name__ == "__main__":
    main()
