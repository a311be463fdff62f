"""A training's diary: `log.csv`, a line for each look at it, and `curves.png`, drawn from it."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from posestream.inference.errors import ModelError
from posestream.stream.disk.durable import replacing

__all__ = ["LOG_FILE", "Diary"]

LOG_FILE = "log.csv"
CURVES_FILE = "curves.png"


class Diary:
    """Writes the diary of one training.

    Parameters
    ----------
    folder
        Where it lies.
    first_step
        What was written of steps after this one is left out: a training that was cut off does them again.

    Raises
    ------
    ModelError
        The folder cannot be written to.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._path = folder / LOG_FILE
        self._lines: list[dict[str, float]] = []
        if first_step and self._path.is_file():
            with self._path.open(encoding="utf-8", newline="") as file:
                kept = [{key: float(value) for key, value in line.items()} for line in csv.DictReader(file)]
            self._lines = [line for line in kept if line["step"] <= first_step]

    def add(self, line: Mapping[str, float]) -> None:
        """Write a line; all have the same names, `step` and `loss` among them."""
        self._lines.append(dict(line))
        try:
            with replacing(self._path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(line))
                writer.writeheader()
                writer.writerows(self._lines)
        except OSError as error:
            raise ModelError(f"{self._path} cannot be written: {error.strerror or error}.") from error

    def draw(self) -> Path | None:
        """Draw the curves; None where Matplotlib is not installed."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return None
        figure = Figure(figsize=(7, 7), layout="constrained")
        FigureCanvasAgg(figure)
        upper, lower = figure.subplots(2, 1, sharex=True)
        steps = [line["step"] for line in self._lines]
        upper.plot(steps, [line["loss"] for line in self._lines], label="training", color="black")
        errors = [name for name in self._lines[-1] if name.startswith("rmse_px")] if self._lines else []
        for name in errors:
            values: Sequence[float] = [line[name] for line in self._lines]
            if any(math.isfinite(value) for value in values):
                lower.plot(steps, values, label=name.removeprefix("rmse_px_"))
        upper.set(ylabel="loss", yscale="log")
        lower.set(xlabel="step", ylabel="RMSE on frames held back, px", yscale="log")
        for axes in (upper, lower):
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
        path = self._path.with_name(CURVES_FILE)
        figure.savefig(path, dpi=120)
        return path
