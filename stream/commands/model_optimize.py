"""`posestream model optimize`: make a network faster with smaller numbers, and say what that costs."""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from posestream.inference.engines.int8 import Calibration, save_int8
from posestream.inference.engines.quantise import deviation, quantise, spread_frames
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundled import is_bundled
from posestream.inference.formats.models import load_model
from posestream.stream.commands.tables import markdown_table

__all__ = ["optimise_model", "print_optimised"]

ENDS = ("mean", "max")
"""What is measured of the likelihood."""


def optimise_model(
    source: Path, *, video: Path, output: Path | None, frames: int, size: tuple[int, int] | None
) -> dict[str, Any]:
    """Quantise a model to int8, keep the graph with its bundle, and measure it on frames that it was not calibrated on.

    Parameters
    ----------
    source
        The model: a bundle, which gets the graph, or what DeepLabCut left, whose bundle in the cache gets it.
    video
        Frames like those that it will run on; of the frames taken, every other one is kept back for the measurement.
    output
        A new bundle that gets the graph instead.
    frames
        Number to calibrate on.
    size
        Width and height in pixels to shrink the frames to, best those that the network will get; None: as they are.

    Raises
    ------
    ModelError
        The model or the video cannot be read, NNCF is not installed, or the bundle cannot be written to.
    """
    bundle = load_model(source)
    if output is None and is_bundled(bundle.folder):
        raise ModelError(f"{bundle.spec.name} comes with the package: name a folder for a copy of it with --output.")
    pictures = spread_frames(video, 2 * frames, size)
    if output is not None:
        bundle.save(output)
        bundle = load_model(output)
    calibrating = pictures[::2]
    graph = quantise(bundle, calibrating)
    height, width = pictures.shape[1:3]
    versions = {name: version(name) for name in ("nncf", "openvino")}
    about = Calibration(video=video.name, frames=len(calibrating), width=width, height=height, versions=versions)
    folder = save_int8(graph, bundle, about)
    return {
        "model": bundle.spec.name,
        "precision": "int8",
        "folder": str(folder),
        "calibrated_on": len(calibrating),
        "size": f"{width}x{height}",
        **asdict(deviation(bundle, pictures[1::2])),
    }


def print_optimised(result: dict[str, Any]) -> None:
    """Print the result for people."""
    click.echo(f"{result['model']} in int8, calibrated on {result['calibrated_on']} frames of {result['size']}")
    click.echo(f"On {result['frames']} other frames, against float32:")
    columns = {"mean": "mean", "median": "median", "95 %": "p95", "largest": "max"}
    pixels = {column: f"{result[f'{name}_px']:.3f}" for column, name in columns.items()}
    likelihood = {column: f"{result[f'{name}_likelihood']:.4f}" for column, name in columns.items() if name in ENDS}
    rows = ({"": "pixels", **pixels}, {"": "likelihood", **dict.fromkeys(columns, ""), **likelihood})
    click.echo("\n".join(markdown_table(rows)))
    click.echo(f"{result['speed']:.1f} times as fast as float32, one frame at a time")
    click.echo(f"made {result['folder']}; ask for it with precision int8")
