"""The commands that measure this machine."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from posestream.stream.commands.ctrl_c import interruptible
from posestream.stream.wire.errors import FAILED, OK

__all__ = ["bench"]


@click.group()
def bench() -> None:
    """Measure what this machine can do."""


def _size(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, int]:
    width, by, height = text.partition("x")
    if not (by and width.isdecimal() and height.isdecimal() and 0 < int(width) <= 8192 and 0 < int(height) <= 8192):
        raise click.BadParameter(f"{text} is no size; write WIDTHxHEIGHT, such as 640x480.")
    return int(width), int(height)


def _numbers(kind: type[int] | type[float], low: float, high: float) -> Any:
    def parse(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[Any, ...]:
        try:
            numbers = tuple(kind(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if not numbers or not all(low <= number <= high for number in numbers):
            raise click.BadParameter(f"{text} is not a list of numbers from {low:g} to {high:g}, separated by commas.")
        return numbers

    return parse


def _engine_pairs(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> Any:
    pairs = [tuple(text.split(":")) for text in texts]
    if wrong := [text for text, pair in zip(texts, pairs, strict=True) if len(pair) != 2 or not all(pair)]:
        raise click.BadParameter(
            f"{wrong[0]} is no engine and precision; write NAME:PRECISION, such as openvino:bfloat16."
        )
    return tuple(dict.fromkeys(pairs))


@bench.command("speed")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--video", type=click.Path(path_type=Path), help="Video to take frames from; by default the simulated arena."
)
@click.option("--frames", default=32, show_default=True, type=click.IntRange(min=1), help="Frames to take.")
@click.option("--size", default="640x480", show_default=True, callback=_size, help="WIDTHxHEIGHT to resize them to.")
@click.option(
    "--scales", default="1,0.5", show_default=True, callback=_numbers(float, 0.01, 4), help="Shares of that size."
)
@click.option("--published", is_flag=True, help="Also time the sizes of DeepLabCut-Live's published table.")
@click.option(
    "--batch-sizes", default="1,8", show_default=True, callback=_numbers(int, 1, 1024), help="Frames run together."
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    default=("openvino:float32", "openvino:bfloat16", "openvino:int8", "tensorflow:float32"),
    show_default=True,
    callback=_engine_pairs,
    metavar="NAME:PRECISION",
    help="Engine and precision; repeatable.",
)
@click.option(
    "--decoder",
    "decoders",
    multiple=True,
    default=("graph",),
    show_default=True,
    type=click.Choice(["graph", "numpy", "loop"]),
    help="Decoder; repeatable. numpy and loop run on TensorFlow only.",
)
@click.option("--window", type=click.IntRange(min=64), help="Also time a window of this side that follows the animal.")
@click.option(
    "--window-margin",
    "margin_px",
    type=click.IntRange(min=0),
    help="Minimum distance of the animal to the window's edge; by default 64 px or a quarter of the side.",
)
@click.option("--repetitions", default=5, show_default=True, type=click.IntRange(min=1), help="Of each measurement.")
@click.option(
    "--seconds", default=0.5, show_default=True, type=click.FloatRange(min=0), help="Length of each measurement."
)
@click.option("--seed", default=0, show_default=True, type=int, help="Seed for the order of the measurements.")
@click.option("--threads", type=click.IntRange(min=1), help="Cores for posestream's engines.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="PYTHON",
    help="Python of an environment with DeepLabCut-Live, which is timed alternately on the same frames.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder for CSV, JSON and figures.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@interruptible
def bench_speed(as_json: bool, **options: Any) -> None:
    """Time a model: sizes, batches, engines, precisions.

    Everything is measured several times in pseudorandom order.

    The paper's experiment: --scales 1,0.5,0.25,0.125 --batch-sizes 1,2,4,8,16,32,64 --decoder graph --decoder numpy
    --decoder loop. Figures need Matplotlib.
    """
    from posestream.stream.bench.speed import SpeedSettings, measure_speed
    from posestream.stream.commands.speed_table import speed_table

    result = measure_speed(SpeedSettings(**options), lambda text: click.echo(text, err=True))
    for line in [json.dumps(result)] if as_json else [*speed_table(result), *result["files"]]:
        click.echo(line)
    sys.exit(FAILED if result["stopped"] else OK)
