"""How long the network takes for a frame of each camera, measured before the first one comes."""

import time

import numpy as np

from posestream.inference.engine import Engine, Shape
from posestream.inference.windows.crop_window import CropWindowFollower
from posestream.stream.wire.details import Expected
from posestream.stream.wire.jobs import InferenceJob
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["Expected", "common_batch", "measure_expected"]

ENOUGH_S = 0.2
"""Seconds of measuring for each size of frame, beyond one run; a start should not take longer for it."""
MOST_RUNS = 5


def common_batch(job: InferenceJob) -> int:
    """Give the largest batch that will be common: in `freshest`, a frame of each camera."""
    return job.batch_size if job.mode == "every-frame" else min(job.batch_size, len(job.streams))


def measure_expected(engine: Engine, job: InferenceJob) -> dict[str, Expected]:
    """Time an engine that is prepared for a job on frames like those that will come; takes a few tenths of a second.

    Returns
    -------
    dict
        By camera.

    Raises
    ------
    ModelError
        The engine was not prepared for these frames.
    """
    measured: dict[Shape, Expected] = {}
    for info in job.streams:
        shape = (info.height, info.width, info.pixel_format)
        if shape not in measured:
            measured[shape] = _measure(engine, job, shape)
    return {info.camera: measured[info.height, info.width, info.pixel_format] for info in job.streams}


def _measure(engine: Engine, job: InferenceJob, shape: Shape) -> Expected:
    height, width, pixel_format = shape
    most = common_batch(job)
    whole_s, batch = _frame_s(engine, width, height, pixel_format, most)
    if job.window is not None:
        settings = job.window
        if sizes := CropWindowFollower(settings, width, height).sizes:
            window_s, batch = _frame_s(engine, *sizes[-1], pixel_format, most)
            share = 1 / settings.check_every
            mean_s = window_s + share * whole_s  # a check runs both
            return Expected(
                frame_ms=_ms(mean_s), whole_ms=_ms(whole_s), batch_size=batch, window=(sizes[-1][0], sizes[-1][1])
            )
    return Expected(frame_ms=_ms(whole_s), whole_ms=_ms(whole_s), batch_size=batch)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _frame_s(engine: Engine, width: int, height: int, pixel_format: PixelFormat, most: int) -> tuple[float, int]:
    """Give seconds for a frame and the batch that they were taken in; a batch that takes long is not waited for."""
    single_s = _run_s(engine, width, height, pixel_format, 1)
    if most == 1 or most * single_s > ENOUGH_S:
        return single_s, most
    return _run_s(engine, width, height, pixel_format, most) / most, most


def _run_s(engine: Engine, width: int, height: int, pixel_format: PixelFormat, batch: int) -> float:
    noise = np.random.default_rng(0).integers(0, 256, (batch, height, width, CHANNELS[pixel_format]), np.uint8)
    taken: list[float] = []
    while len(taken) < MOST_RUNS and sum(taken) < ENOUGH_S:
        began = time.perf_counter()
        engine.run(noise, pixel_format)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))
