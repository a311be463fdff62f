"""The commands on networks."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from posestream.stream.commands.common import PRECISIONS, plain
from posestream.stream.commands.ctrl_c import interruptible
from posestream.stream.wire.errors import FAILED, OK, InputError

__all__ = ["model"]


@click.group()
def model() -> None:
    """Import, inspect, check, export and optimise networks."""


@model.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How weights are stored.",
)
@interruptible
def model_import(source: Path, bundle: Path, dtype: Any) -> None:
    """Convert a DeepLabCut model to a bundle.

    SOURCE is a project, a train folder, a snapshot or an export of DeepLabCut; BUNDLE is the folder to make.
    """
    from posestream.inference.formats.models import load_model

    load_model(source).save(bundle, dtype)
    click.echo(f"made {bundle}")


@model.command("info")
@click.argument("source", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@interruptible
def model_info(source: Path, as_json: bool) -> None:
    """Show a model's body parts, network and origin."""
    import msgspec

    from posestream.inference.formats.models import load_model

    spec = msgspec.to_builtins(load_model(source).spec)
    if as_json:
        click.echo(json.dumps(spec))
        return
    for key, value in spec.items():
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        click.echo(plain(f"{key}: {text}"))


@model.command("check")
@click.argument("source", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--video", type=click.Path(path_type=Path), help="Run on this video's frames; by default, on noise of 640x480."
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Poses from DeepLabCut to compare with (.npz); repeatable.",
)
@click.option(
    "--frames", default=64, show_default=True, type=click.IntRange(min=1), help="Frames to run, without --against."
)
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1, 512), help="Frames run together.")
@click.option(
    "--engine", default="auto", show_default=True, help="auto, openvino, onnxruntime, tensorflow, or a plugin's name."
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Numbers to compute with; by default float32 with --against, auto otherwise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@interruptible
def model_check(source: Path, as_json: bool, **options: Any) -> None:
    """Measure a model's speed, and compare it with DeepLabCut.

    Without --against, it runs on noise or on a video. Exit status 1: a pose differs from DeepLabCut's by more than
    0.05 px or 0.001 in likelihood. Where two peaks tie within 0.0001, only the likelihoods are compared.
    """
    from posestream.stream.commands.model_check import check_model, print_check
    from posestream.stream.run.display import TerminalDisplay

    with TerminalDisplay() as display:
        result = check_model(source, tell=display.phase, show=lambda done: display.progress(done.by_name), **options)
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_check(result)
    sys.exit(OK if result["within_limits"] else FAILED)


@model.command("export")
@click.argument("source", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--format", "kind", required=True, type=click.Choice(["onnx"]), help="What to write.")
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path), help="The file; by default the model's name.onnx."
)
@click.option(
    "--pixel-format",
    type=click.Choice(["rgb24", "bgr24", "gray8"]),
    default="rgb24",
    show_default=True,
    help="Pixels of the frames that it takes.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Numbers that it computes with; the ends of it are float32 in any case.",
)
@click.option(
    "--check",
    "video",
    metavar="VIDEO",
    type=click.Path(path_type=Path),
    help="Compare its poses with float32's on frames of this video.",
)
@click.option("--frames", default=32, show_default=True, type=click.IntRange(2, 1024), help="Frames for --check.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@interruptible
def model_export(source: Path, kind: str, precision: str, as_json: bool, **options: Any) -> None:  # noqa: ARG001
    """Write a network for other programs: frames in, poses out.

    The graph takes uint8 frames of any size and batch, and gives x, y and likelihood of each body part: nothing is left
    to do before or behind it. With --check, exit status 1 says that a pose differs from float32's by more than 0.05 px
    or 0.001 in likelihood; where two peaks tie within 0.0001, only the likelihoods are compared.
    """
    from posestream.stream.commands.model_export import export_model, print_export
    from posestream.stream.run.display import TerminalDisplay

    with TerminalDisplay() as display:
        result = export_model(
            source,
            half=precision == "float16",
            tell=display.phase,
            show=lambda done: display.progress(done.by_name),
            **options,
        )
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_export(result)
    sys.exit(OK if result["within_limits"] else FAILED)


@model.command("optimize")
@click.argument("source", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--precision", required=True, type=click.Choice(["int8"]), help="Numbers to compute with.")
@click.option(
    "--calibrate",
    "video",
    required=True,
    type=click.Path(path_type=Path),
    help="A video like those that it will run on.",
)
@click.option(
    "--output",
    metavar="BUNDLE",
    type=click.Path(path_type=Path),
    help="A new bundle for the result; by default it goes into MODEL's.",
)
@click.option(
    "--size", metavar="WIDTHxHEIGHT", help="Size of the frames that the network will get; by default the video's."
)
@click.option("--frames", default=48, show_default=True, type=click.IntRange(1, 1024), help="Frames to calibrate on.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@interruptible
def model_optimize(source: Path, precision: str, size: str | None, as_json: bool, **options: Any) -> None:  # noqa: ARG001
    """Make a faster int8 version of a model.

    It ends with how far the int8 poses are from float32's, on frames that it was not calibrated on, and how much faster
    it is. It needs NNCF: pip install "posestream[optimize]".
    """
    from posestream.stream.commands.model_optimize import optimise_model, print_optimised

    numbers = (size or "").split("x")
    if size is not None and not (len(numbers) == 2 and all(number.isdigit() and int(number) for number in numbers)):
        raise InputError(f"--size {size}: a size is width and height in pixels, such as 320x240")
    shrunk = (int(numbers[0]), int(numbers[1])) if size is not None else None
    result = optimise_model(source, size=shrunk, **options)
    click.echo(json.dumps(result)) if as_json else print_optimised(result)
