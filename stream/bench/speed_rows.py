"""What `bench speed` measured, summed up: a row for each cell and one for each measurement."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.arithmetic import multiply_adds
from posestream.inference.bench.cells import PEER, PUBLISHED_SIZES, Cell
from posestream.inference.bench.speed import Timing
from posestream.inference.formats.bundle import ModelBundle

__all__ = ["cell_rows", "timing_row"]

CONFIDENT = 0.6
PUBLISHED = dict(zip(PUBLISHED_SIZES, zip((192, 151, 101, 63, 37), (28, 11, 4, 2, 1), strict=True), strict=True))
"""Frames a second of DeepLabCut-Live with a ResNet-50, one at a time, on an RTX 2080 Ti and on a Xeon of 3.1 GHz under
Linux (Kane et al. 2020)."""


def cell_rows(
    bundle: ModelBundle, timings: Sequence[Timing], poses: dict[Cell, NDArray[np.float32]]
) -> list[dict[str, Any]]:
    """Sum up each cell: speed over its repetitions, and poses against float32's and the peer's."""
    by_cell: dict[Cell, list[Timing]] = {}
    for timing in timings:
        by_cell.setdefault(timing.cell, []).append(timing)
    counted = bundle.spec.family != "frozen-graph"
    work = {
        size: multiply_adds(bundle.spec, size[1], size[0]) if counted else None
        for size in {(cell.width, cell.height) for cell in by_cell}
    }
    rows = []
    for cell in sorted(by_cell, key=lambda cell: (-cell.width * cell.height, cell.window or 0, cell.batch, cell)):
        found = by_cell[cell]
        speed = np.array([timing.frames_per_second for timing in found])
        row: dict[str, Any] = asdict(cell) | {
            "frames_per_second": dict(
                zip(("median", "p5", "p95"), np.percentile(speed, (50, 5, 95)).tolist(), strict=True)
            ),
            "batch_ms": float(np.median([timing.batch_ms for timing in found])),
            "decode_ms": _median(timing.decode_ms for timing in found),
            "multiply_adds": None if cell.window else work[cell.width, cell.height],
            "share_of_matrix_rate": None,
        }
        rate = _median(timing.matrix_flops for timing in found)
        if rate and row["multiply_adds"]:
            row["share_of_matrix_rate"] = 2 * row["multiply_adds"] * float(np.median(speed)) / rate
        row |= _against_the_peer(cell, by_cell, poses)
        reference = _reference(cell, by_cell)
        row["from_float32_px"] = _apart(poses[cell], poses[reference]) if reference not in (None, cell) else None
        row["published_frames_per_second"] = PUBLISHED.get((cell.width, cell.height))
        rows.append(row)
    return rows


def _against_the_peer(
    cell: Cell, by_cell: dict[Cell, list[Timing]], poses: dict[Cell, NDArray[np.float32]]
) -> dict[str, Any]:
    """Compare a cell with the peer on frames of its size, repetition by repetition; nothing where it was not timed."""
    size = (cell.width, cell.height)
    peer = next((other for other in by_cell if other.engine == PEER and (other.width, other.height) == size), None)
    if peer is None or cell.engine == PEER:
        return {}
    theirs = {timing.repetition: timing.frames_per_second for timing in by_cell[peer]}
    times = [t.frames_per_second / theirs[t.repetition] for t in by_cell[cell] if t.repetition in theirs]
    return {"times_the_peer": _median(times), "from_the_peer_px": _apart(poses[cell], poses[peer])}


def _reference(cell: Cell, cells: dict[Cell, Any]) -> Cell | None:
    """Find the float32 cell of the same frames with the smallest batches."""
    if cell.engine == PEER:
        return None
    alike = [
        other
        for other in cells
        if other.precision == "float32" and other.window is None and other.engine != PEER
        and (other.width, other.height) == (cell.width, cell.height)
    ]  # fmt: skip
    return min(alike, key=lambda other: (other.batch, other.decoder != "graph", other), default=None)


def _apart(poses: NDArray[np.float32], others: NDArray[np.float32]) -> dict[str, float] | None:
    """Distances of the body parts that the others are confident of, pixels."""
    count = min(len(poses), len(others))
    sure = others[:count, :, 2] >= CONFIDENT
    away = np.hypot(*np.moveaxis(poses[:count, :, :2] - others[:count, :, :2], -1, 0))[sure]
    if not away.size:
        return None
    return {"mean": float(away.mean()), "median": float(np.median(away)), "largest": float(away.max())}


def timing_row(timing: Timing) -> dict[str, Any]:
    """Give one measurement: its cell, and its numbers."""
    numbers = {name: value for name, value in asdict(timing).items() if name != "cell"}
    first = {"repetition": numbers.pop("repetition"), "frames_per_second": timing.frames_per_second}
    return asdict(timing.cell) | first | numbers


def _median(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
