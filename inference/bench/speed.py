"""The experiment of Mathis & Warren 2018: every condition several times, in pseudorandom order."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.bench.cells import PEER, Cell
from posestream.inference.bench.maps import MapsEngine, graph_decoder
from posestream.inference.bench.peer import Peer
from posestream.inference.bench.rate import matrix_product
from posestream.inference.engine import Engine
from posestream.inference.engines import open_engine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.windows.crop_window import CropWindowSettings
from posestream.inference.windows.crop_window_run import CropWindowRun
from posestream.stream.wire.messages import PixelFormat

__all__ = ["Experiment", "Timing"]

LEAST_BATCHES = 2
KEPT_PIXELS = 24 * 640 * 480
"""Engines stay compiled for so many pixels of batches together; the least recently used go."""

Frames = NDArray[np.uint8]
Poses = NDArray[np.float32]


@dataclass(frozen=True)
class Timing:
    """One measurement of a cell."""

    cell: Cell
    repetition: int
    frames: int
    """Inferred in this measurement."""
    seconds: float
    """That they took together, copying to and from the engine included."""
    batch_ms: float
    """Median of a batch, milliseconds."""
    decode_ms: float | None
    """Of it the decoder's; on TensorFlow only, where in the graph that of the decoder alone."""
    matrix_flops: float | None
    """Operations a second of a large matrix product in the same library and precision, just before."""

    @property
    def frames_per_second(self) -> float:
        """Speed."""
        return self.frames / self.seconds


class Experiment:
    """Measures cells; a model, frames and perhaps a peer for all of them.

    Parameters
    ----------
    bundle
        The model.
    frames
        Gives the frames of a width and height, uint8 (N, H, W, C), successive ones of a video where windows follow.
    pixel_format
        Of the frames.
    seconds
        That each measurement takes at least.
    threads
        Cores of the engines; they decide where not given.
    crop_window
        Gives how a crop window of a side follows the animal.
    peer
        DeepLabCut-Live, where it is among the cells.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        frames: Callable[[int, int], Frames],
        pixel_format: PixelFormat,
        *,
        seconds: float,
        threads: int | None = None,
        crop_window: Callable[[int], CropWindowSettings] | None = None,
        peer: Peer | None = None,
    ) -> None:
        self._bundle, self._frames, self._format = bundle, frames, pixel_format
        self._seconds, self._threads, self._crop_window, self._peer = seconds, threads, crop_window, peer
        self._engines: dict[Cell, Engine] = {}
        self._products: dict[tuple[str, str], Callable[[], float] | None] = {}
        self._decoders: dict[tuple[int, int], Callable[[Any], Any]] = {}
        self.timings: list[Timing] = []
        """What was measured so far."""
        self.poses: dict[Cell, Poses] = {}
        """Of as many frames as fill whole batches, by cell; of the peer, of as many as it came to in a measurement."""
        self.refused: dict[tuple[str, str], str] = {}
        """Engines and precisions that cannot be had here, and why."""

    def run(self, cells: Iterable[Cell], repetitions: int, seed: int, tell: Callable[[int, int, Timing], None]) -> None:
        """Measure every cell so many times, each time all of them in an order of its own; see `timings`.

        Parameters
        ----------
        cells
            What to measure.
        repetitions
            How often.
        seed
            Of the orders.
        tell
            Told after each measurement: its number, how many there are, and what was found.
        """
        chance = random.Random(seed)  # noqa: S311 - an order, no secret
        usable = [cell for cell in cells if self._usable(cell)]
        for repetition in range(1, repetitions + 1):
            for cell in chance.sample(usable, len(usable)):
                self.timings.append(self._measure(cell, repetition))
                tell(len(self.timings), repetitions * len(usable), self.timings[-1])

    def _usable(self, cell: Cell) -> bool:
        pair = (cell.engine, cell.precision)
        if cell.engine == PEER or pair in self.refused:
            return cell.engine == PEER
        if pair not in self._products:
            try:
                open_engine(self._bundle, *pair, self._threads)
            except ModelError as error:
                self.refused[pair] = str(error)
                return False
            self._products[pair] = matrix_product(*pair, self._threads)
        return True

    def _measure(self, cell: Cell, repetition: int) -> Timing:
        frames = self._frames(cell.width, cell.height)
        if cell.engine == PEER:
            assert self._peer is not None  # noqa: S101 - the cell is there because the peer is
            seconds, poses = self._peer.run(_as_bgr(frames), self._seconds)
            if len(poses) > len(self.poses.get(cell, ())):
                self.poses[cell] = poses
            return Timing(cell, repetition, len(seconds), sum(seconds), 1e3 * float(np.median(seconds)), None, None)
        product = self._products[cell.engine, cell.precision]
        flops = product() if product is not None else None
        engine = self._engine(cell)
        ask: Callable[[Frames], Poses]
        if cell.window is not None:
            assert self._crop_window is not None  # noqa: S101 - the cell is there because windows were asked for
            windows = CropWindowRun(engine, self._crop_window(cell.window), cell.width, cell.height, 1)
            windows.prepare(self._format)
            ask = lambda batch: windows.run(batch, self._format)  # noqa: E731
        else:
            ask = lambda batch: engine.run(batch, self._format)  # noqa: E731
        if cell not in self.poses:
            self.poses[cell] = np.concatenate([ask(batch) for batch in _batches(frames, cell.batch)])
        seconds = self._time(ask, frames, cell.batch)
        decode_ms = self._decoding_ms(cell, engine, _batches(frames, cell.batch)[0])
        return Timing(
            cell, repetition, len(seconds) * cell.batch, sum(seconds), 1e3 * float(np.median(seconds)), decode_ms, flops
        )

    def _time(self, ask: Callable[[Frames], Poses], frames: Frames, batch: int) -> list[float]:
        batches = _batches(frames, batch)
        seconds: list[float] = []
        while len(seconds) < LEAST_BATCHES or sum(seconds) < self._seconds:
            began = time.perf_counter()
            ask(batches[len(seconds) % len(batches)])
            seconds.append(time.perf_counter() - began)
        return seconds

    def _decoding_ms(self, cell: Cell, engine: Engine, batch: Frames) -> float | None:
        """Median of some decodings of the batch's maps, or of the graph's decoder alone on maps of such a size."""
        if cell.engine != "tensorflow" or cell.window is not None:
            return None
        if isinstance(engine, MapsEngine):
            maps = engine.maps(batch)
            return _median_ms(lambda: engine.decode(*maps))
        height, width = 2 * -(-cell.height // 16), 2 * -(-cell.width // 16)
        chance, parts = np.random.default_rng(0), len(engine.bodyparts)
        shapes = [parts, 2 * parts] if self._bundle.spec.location_refinement else [parts]
        logits = [chance.standard_normal((cell.batch, height, width, number), np.float32) for number in shapes]
        if (height, width) not in self._decoders:
            self._decoders[height, width] = graph_decoder(self._bundle, height, width)
        decoder = self._decoders[height, width]
        return _median_ms(lambda: decoder(logits))

    def _engine(self, cell: Cell) -> Engine:
        """Give the engine, prepared; those that were not used for long go, as what is compiled takes memory."""
        engine = self._engines.pop(cell, None)
        if engine is None:
            if cell.decoder == "graph":
                engine = open_engine(self._bundle, cell.engine, cell.precision, self._threads)
            else:
                engine = MapsEngine(self._bundle, cell.precision, cell.decoder, self._threads)
            if cell.window is None:
                engine.prepare(cell.height, cell.width, self._format, [cell.batch])
        self._engines[cell] = engine
        while len(self._engines) > 1 and sum(map(_pixels, self._engines)) > KEPT_PIXELS:
            del self._engines[next(iter(self._engines))]
        return engine


def _pixels(cell: Cell) -> int:
    return cell.batch * cell.width * cell.height


def _batches(frames: Frames, batch: int) -> Sequence[Frames]:
    """Cut frames into batches, the video begun again where it is shorter than one."""
    if len(frames) < batch:
        frames = frames[np.arange(batch) % len(frames)]
    return [frames[first : first + batch] for first in range(0, len(frames) - batch + 1, batch)]


def _as_bgr(frames: Frames) -> Frames:
    """DeepLabCut-Live turns what it takes for BGR into RGB."""
    return np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else np.ascontiguousarray(frames[..., ::-1])


def _median_ms(work: Callable[[], Any], times: int = 5) -> float:
    work()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1e3 * float(np.median(seconds))
