"""`python -m posestream.inference.trial [MODEL]`: which engines run here, and how fast, as JSON.

A process of its own: an engine whose library crashes on this machine takes nothing else with it.
"""

import logging
import os
import sys
import tempfile

import msgspec
import numpy as np

from posestream.inference.bundle import ModelBundle, ModelSource, ModelSpec, expected_tensors
from posestream.inference.cache import CACHE_VARIABLE
from posestream.inference.check import run_batches
from posestream.inference.engine import Precision
from posestream.inference.engines import engine_names, open_engine
from posestream.inference.errors import ModelError
from posestream.inference.models import load_model

__all__ = ["Trial", "main", "try_engines"]

HEIGHT, WIDTH, FRAMES = 240, 320, 16
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How one engine did."""

    engine: str
    precision: str
    frames_per_second: float | None = None
    """One frame of 320x240 pixels at a time."""
    chosen: str = ""
    """Why `auto` takes it; empty where it does not."""
    error: str = ""
    """Why it can't be used; empty where it can."""


def try_engines(bundle: ModelBundle) -> list[Trial]:
    """Run a few frames of noise through each engine in each precision, and through what `auto` takes."""
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 1), dtype=np.uint8)
    wanted = [(name, precision) for name in engine_names() for precision in PRECISIONS]
    trials = []
    for name, precision in [*wanted, ("auto", "auto")]:
        try:
            engine = open_engine(bundle, name, precision)
            _, per_second = run_batches(engine, frames, "gray8", 1)
        except ModelError as error:
            trials.append(Trial(engine=name, precision=precision, error=str(error)))
        else:
            trials.append(
                Trial(
                    engine=engine.name,
                    precision=engine.precision,
                    frames_per_second=round(per_second, 2),
                    chosen=engine.reason,
                )
            )
    return trials


def random_bundle() -> ModelBundle:
    """Make a ResNet-50 of the usual size whose weights mean nothing: good for timing alone."""
    spec = ModelSpec(
        name="random",
        net_type="resnet_50",
        bodyparts=("snout", "leftear", "rightear", "tailbase"),
        stride=8,
        locref_stdev=7.2801,
        location_refinement=True,
        mean_pixel=(123.68, 116.779, 103.939),
        scorer="random",
        source=ModelSource(kind="random"),
    )
    rng = np.random.default_rng(0)
    shapes = expected_tensors(spec)
    weights = {name: rng.normal(0, 0.01, shape).astype(np.float32) for name, shape in shapes.items()}
    return ModelBundle(spec, weights)


def main() -> None:
    """Print the trials; an error of the model that the command line names stands in each."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            if len(sys.argv) > 1:
                bundle = load_model(sys.argv[1])
            else:
                os.environ[CACHE_VARIABLE] = folder  # nobody will ask for this network again
                bundle = random_bundle()
            trials = try_engines(bundle)
        except ModelError as error:
            trials = [Trial(engine="auto", precision="auto", error=str(error))]
    sys.stdout.buffer.write(msgspec.json.encode(trials))


if __name__ == "__main__":
    main()
