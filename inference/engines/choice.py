"""An engine that takes the fastest of several, timed where frames are first prepared; the choice is remembered."""

import contextlib
import hashlib
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine, Precision, Shape
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.formats.cache import cache_folder
from posestream.stream.disk.durable import replacing
from posestream.stream.wire.messages import CHANNELS, PixelFormat
from posestream.stream.wire.versions import package_version

__all__ = ["Candidate", "ChosenEngine"]

TIMED_RUNS = 3
LEAST_GAIN = 1.1
"""What is not this much faster than the reference is not worth its rounding."""
MOST_SPREAD = 1.5
"""Where an engine's slowest run took so many times its fastest, something else was at work. If that could have changed
the choice, the next start times again."""
VERSIONS = ("posestream", "openvino", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "tensorflow")

_log = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """An engine in a precision."""

    engine: str
    """Its name."""
    precision: Precision


class _Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    chosen: int
    """Number of the candidate."""
    reference: int
    """Number of the last candidate that runs here."""
    gains: dict[int, float]
    """How many times as fast as the reference each other candidate is that runs here, by number."""


class ChosenEngine:
    """Runs the engine that is chosen when frames are prepared for the first time.

    Parameters
    ----------
    bundle
        The model.
    make
        Makes an engine.
    candidates
        What to choose from, the likeliest first and the reference last.
    threads
        Cores that the engine uses, if limited.
    why
        Why it is these engines, for people; empty where one was asked for.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        make: Callable[[Candidate], Engine],
        candidates: Sequence[Candidate],
        threads: int | None,
        why: str,
    ) -> None:
        self.reason = why
        self._bundle, self._make, self._candidates, self._threads = bundle, make, candidates, threads
        # One that can't be had is refused now, not when frames come.
        self._engine = make(candidates[0]) if len(candidates) == 1 else None

    @property
    def name(self) -> str:
        """The engine's; until frames were prepared, the likeliest's."""
        return self._candidates[0].engine if self._engine is None else self._engine.name

    @property
    def precision(self) -> Precision:
        """In which the network computes; until frames were prepared, the likeliest."""
        return self._candidates[0].precision if self._engine is None else self._engine.precision

    @property
    def device(self) -> str:
        """What the engine runs on, for people, where it says so."""
        return str(getattr(self._engine, "device", ""))

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names of the K body parts, in the order of the poses."""
        return self._bundle.spec.bodyparts

    def prepare(self, height: int, width: int, pixel_format: PixelFormat, batch_sizes: Iterable[int]) -> None:
        """Choose, the first time; compile and warm up; see `Engine.prepare`."""
        sizes = sorted(set(batch_sizes))
        if self._engine is None:
            self._engine = self._choose((height, width, pixel_format), sizes[:1])
        if self.reason:
            _log.info("%s in %s: %s", self.name, self.precision, self.reason)
        self._engine.prepare(height, width, pixel_format, sizes)

    def run(self, frames: NDArray[np.uint8], pixel_format: PixelFormat | None = None) -> NDArray[np.float32]:
        """Estimate the poses of a batch; see `Engine.run`."""
        if self._engine is None:
            raise RuntimeError("prepare was not called")
        return self._engine.run(frames, pixel_format)

    def _choose(self, shape: Shape, sizes: Sequence[int]) -> Engine:
        """Take what was chosen before, or time the candidates; what they are timed with is what runs then."""
        file = cache_folder("engines") / f"{self._key(shape)}.json"
        timed: dict[int, Engine] = {}
        if (choice := _remembered(file, len(self._candidates))) is None:
            timed = self._prepared(shape, sizes)
            choice, steady = _time(timed, shape, sizes)
            if steady:
                _remember(file, choice)
            else:
                _log.info("The machine was busy while engines were timed; they are timed again at the next start.")
        reference = self._named(choice.reference)
        said = [
            f"{self._named(number)} is {gain:.2g} times as fast as {reference}" for number, gain in choice.gains.items()
        ]
        why = f"{' and '.join(said)} at {shape[1]}x{shape[0]}" if said else ""
        self.reason = "; ".join(part for part in (self.reason, why) if part)
        return timed.get(choice.chosen) or self._make(self._candidates[choice.chosen])

    def _prepared(self, shape: Shape, sizes: Sequence[int]) -> dict[int, Engine]:
        """Make and prepare the candidates, and leave out those that can't run after all, such as on a GPU."""
        engines: dict[int, Engine] = {}
        refused: ModelError | None = None
        for number, candidate in enumerate(self._candidates):
            try:
                engine = self._make(candidate)
                engine.prepare(*shape, sizes)
            except ModelError as error:
                _log.warning("%s in %s is left out: %s", *candidate, error)
                refused = error
            else:
                engines[number] = engine
        if not engines and refused is not None:
            raise refused
        return engines

    def _named(self, number: int) -> str:
        """Give a candidate's name, without that of the engine where there is but one."""
        engine, precision = self._candidates[number]
        one = len({other.engine for other in self._candidates}) == 1
        return precision if one else f"{engine} in {precision}"

    def _key(self, shape: Shape) -> str:
        """Hash of all that a choice depends on."""
        machine = (platform.node(), platform.machine(), platform.processor(), os.cpu_count())
        versions = [package_version(name) for name in VERSIONS]
        candidates = [tuple(candidate) for candidate in self._candidates]
        parts = (machine, versions, candidates, self._threads, shape, self._bundle.digest())
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _time(engines: dict[int, Engine], shape: Shape, sizes: Sequence[int]) -> tuple[_Choice, bool]:
    """Time noise in every engine, alternating, so that background load affects all equally.

    Returns
    -------
    tuple
        The choice, and whether it can be relied on.
    """
    height, width, pixel_format = shape
    noise = np.random.default_rng(0).integers(0, 256, (sizes[0], height, width, CHANNELS[pixel_format]), np.uint8)
    seconds = np.empty((TIMED_RUNS, len(engines)))
    for run in range(TIMED_RUNS):
        for column, engine in enumerate(engines.values()):
            began = time.perf_counter()
            engine.run(noise, pixel_format)
            seconds[run, column] = time.perf_counter() - began
    numbers, fastest, slowest = list(engines), seconds.min(axis=0), seconds.max(axis=0)
    gains = fastest[-1] / fastest
    best = int(np.argmax(gains)) if gains.max() >= LEAST_GAIN else len(numbers) - 1
    noisy = (slowest > MOST_SPREAD * fastest).any()
    clear = slowest[best] < np.delete(fastest, best).min(initial=np.inf)
    others = {number: round(float(gain), 2) for number, gain in zip(numbers[:-1], gains, strict=False)}
    return _Choice(chosen=numbers[best], reference=numbers[-1], gains=others), bool(clear or not noisy)


def _remembered(file: Path, candidates: int) -> _Choice | None:
    try:
        choice = msgspec.json.decode(file.read_bytes(), type=_Choice)
    except (OSError, msgspec.DecodeError):
        return None
    return choice if {choice.chosen, choice.reference, *choice.gains} <= set(range(candidates)) else None


def _remember(file: Path, choice: _Choice) -> None:
    with contextlib.suppress(OSError):  # it is timed again then
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file, shared=True) as temporary:
            temporary.write_bytes(msgspec.json.encode(choice))
