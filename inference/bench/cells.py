"""What is measured: engines, precisions and decoders on frames of a size in batches of a size."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["PEER", "PUBLISHED_SIZES", "Cell", "Decoder", "cells_of", "scaled_sizes"]

Decoder = Literal["graph", "numpy", "loop"]
PEER = "deeplabcut-live"
PUBLISHED_SIZES = ((115, 87), (229, 174), (459, 349), (649, 493), (917, 698))
"""Width and height of the frames in DeepLabCut-Live's published table (Kane et al. 2020), pixels."""


@dataclass(frozen=True, order=True)
class Cell:
    """One condition of the experiment."""

    engine: str
    """`tensorflow`, `openvino`, a plugin's name, or `deeplabcut-live`."""
    precision: str
    decoder: Decoder
    """Where poses are read from the maps: in the network's graph, vectorised in NumPy, or by the double loop."""
    width: int
    height: int
    batch: int
    window: int | None = None
    """Side of the window that follows the animal through successive frames, pixels; None: whole frames."""

    @property
    def frames(self) -> str:
        """Name of what the network sees."""
        return f"{self.width}x{self.height}" + (f", window {self.window}" if self.window else "")


def scaled_sizes(size: tuple[int, int], scales: Iterable[float]) -> list[tuple[int, int]]:
    """Scale a width and height, to whole pixels; each result once."""
    return list(dict.fromkeys((max(1, round(size[0] * scale)), max(1, round(size[1] * scale))) for scale in scales))


def cells_of(
    engines: Sequence[tuple[str, str]],
    decoders: Sequence[Decoder],
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    *,
    window: int | None = None,
    peer: bool = False,
) -> list[Cell]:
    """Combine all with all.

    Maps come out of TensorFlow only, so the NumPy and loop decoders are combined with that engine alone; windows are
    asked one at a time and where they fit, and the peer takes one frame at a time.
    """
    cells = [
        Cell(engine, precision, decoder, *size, batch)
        for (engine, precision), decoder, size, batch in itertools.product(engines, decoders, sizes, batches)
        if decoder == "graph" or engine == "tensorflow"
    ]
    if window is not None:
        pairs = itertools.product(engines, sizes)
        cells += [Cell(*pair, "graph", *size, 1, window) for pair, size in pairs if window < min(size)]
    if peer:
        cells += [Cell(PEER, "float32", "graph", *size, 1) for size in sizes]
    return cells
