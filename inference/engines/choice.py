"""An engine that takes the fastest precision, timed where frames are first prepared; the choice is remembered."""

import contextlib
import hashlib
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine, Precision, Shape
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.cache import cache_folder
from posestream.stream.disk.durable import replacing
from posestream.stream.wire.messages import CHANNELS, PixelFormat
from posestream.stream.wire.versions import package_version

__all__ = ["ChosenEngine"]

TIMED_RUNS = 3
LEAST_GAIN = 1.1
"""A precision that is not this much faster than the reference is not worth its rounding."""
VERSIONS = ("posestream", "openvino", "tensorflow")

_log = logging.getLogger(__name__)


class _Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    precision: Precision
    gains: dict[Precision, float]
    """How many times as fast as the reference each other precision is."""


class ChosenEngine:
    """Runs an engine whose precision is chosen when frames are prepared for the first time.

    Parameters
    ----------
    bundle
        The model.
    name
        Name of the engine.
    make
        Makes the engine in a precision.
    candidates
        Precisions to choose from, the likeliest first and the reference last.
    threads
        Cores that the engine uses, if limited.
    why
        Why it is this engine, for people; empty where it was asked for.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        name: str,
        make: Callable[[Precision], Engine],
        candidates: Sequence[Precision],
        threads: int | None,
        why: str,
    ) -> None:
        self.name, self.reason = name, why
        self._bundle, self._make, self._candidates, self._threads = bundle, make, candidates, threads
        # One that can't be had is refused now, not when frames come.
        self._engine = make(candidates[0]) if len(candidates) == 1 else None

    @property
    def precision(self) -> Precision:
        """In which the network computes; until frames were prepared, the likeliest."""
        return self._candidates[0] if self._engine is None else self._engine.precision

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names of the K body parts, in the order of the poses."""
        return self._bundle.spec.bodyparts

    def prepare(self, height: int, width: int, pixel_format: PixelFormat, batch_sizes: Iterable[int]) -> None:
        """Choose, the first time; compile and warm up; see `Engine.prepare`."""
        sizes = sorted(set(batch_sizes))
        if self._engine is None:
            shape = (height, width, pixel_format)
            file = cache_folder("engines") / f"{self._key(shape)}.json"
            timed: dict[Precision, Engine] = {}
            if (choice := _remembered(file)) is None:
                timed = {precision: self._make(precision) for precision in self._candidates}
                choice = self._time(timed, shape, sizes[:1])
                _remember(file, choice)
            reference = self._candidates[-1]
            said = [f"{name} is {gain:.2g} times as fast as {reference}" for name, gain in choice.gains.items()]
            why = f"{' and '.join(said)} at {width}x{height}" if said else ""
            self.reason = "; ".join(part for part in (self.reason, why) if part)
            self._engine = timed.get(choice.precision) or self._make(choice.precision)
        if self.reason:
            _log.info("%s in %s: %s", self.name, self.precision, self.reason)
        self._engine.prepare(height, width, pixel_format, sizes)

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        """Estimate the poses of a batch; see `Engine.run`."""
        if self._engine is None:
            raise RuntimeError("prepare was not called")
        return self._engine.run(frames, pixel_format)

    def _time(self, engines: dict[Precision, Engine], shape: Shape, sizes: Sequence[int]) -> _Choice:
        """Time noise in every precision, alternating, so that background load affects all equally."""
        height, width, pixel_format = shape
        for engine in engines.values():
            engine.prepare(height, width, pixel_format, sizes)
        noise = np.random.default_rng(0).integers(0, 256, (sizes[0], height, width, CHANNELS[pixel_format]), np.uint8)
        seconds = dict.fromkeys(engines, np.inf)
        for _ in range(TIMED_RUNS):
            for precision, engine in engines.items():
                began = time.perf_counter()
                engine.run(noise, pixel_format)
                seconds[precision] = min(seconds[precision], time.perf_counter() - began)
        *others, reference = self._candidates
        gains = {name: round(seconds[reference] / seconds[name], 2) for name in others}
        best = max(others, key=gains.__getitem__)
        return _Choice(precision=best if gains[best] >= LEAST_GAIN else reference, gains=gains)

    def _key(self, shape: Shape) -> str:
        """Hash of all that a choice depends on."""
        machine = (platform.node(), platform.machine(), platform.processor(), os.cpu_count())
        versions = [package_version(name) for name in VERSIONS]
        parts = (machine, versions, self.name, self._candidates, self._threads, shape, self._bundle.digest())
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _remembered(file: Path) -> _Choice | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Choice)
    except (OSError, msgspec.DecodeError):
        return None


def _remember(file: Path, choice: _Choice) -> None:
    with contextlib.suppress(OSError):  # it is timed again then
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, shared=True) as temporary:
            temporary.write_bytes(msgspec.json.encode(choice))
