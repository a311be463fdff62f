"""The commands on videos that any program recorded."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from posestream.stream.commands.common import PRECISIONS
from posestream.stream.commands.ctrl_c import answer_interrupts
from posestream.stream.wire.errors import FAILED, OK, InputError
from posestream.stream.wire.interrupts import take_interrupts

__all__ = ["analyze"]


@click.command()
@click.argument("given", metavar="VIDEO...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", required=True, type=click.Path(path_type=Path), help="The network.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the results; by default each video's own.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1, 1024), help="Frames run together.")
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 8, min_open=True),
    help="Shrink frames to this share of their width and height.",
)
@click.option("--crop", metavar="X,Y,WIDTH,HEIGHT", help="Show the network only this region, in pixels.")
@click.option(
    "--window",
    "sides",
    metavar="SIDE",
    multiple=True,
    type=int,
    help="Follow one animal with a window of this side, a multiple of 32 pixels; repeatable: the smallest that fits.",
)
@click.option(
    "--window-margin",
    "margin_px",
    type=click.IntRange(min=0),
    help="Minimum distance of the animal to the window's edge, in pixels; 64 by default.",
)
@click.option(
    "--window-threshold",
    "threshold",
    type=click.FloatRange(0, 1),
    help="Likelihood from which a body part is confident; 0.6 by default.",
)
@click.option(
    "--window-check",
    "check_every",
    type=click.IntRange(min=1),
    help="Run on the whole frame every so many frames; 100 by default.",
)
@click.option("--overwrite", is_flag=True, help="Analyse videos again that have results.")
@click.option(
    "--engine", default="auto", show_default=True, help="auto, openvino, onnxruntime, tensorflow, or a plugin's name."
)
@click.option(
    "--precision", default="auto", show_default=True, type=click.Choice(PRECISIONS), help="Numbers to compute with."
)
@click.option("--threads", type=click.IntRange(min=1), help="Cores for the network; all by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def analyze(
    given: tuple[Path, ...],
    scale: float,
    crop: str | None,
    sides: tuple[int, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Track every frame of videos and write DeepLabCut's files.

    A folder stands for the videos in it. Poses are in pixels of the video, whatever --scale and --crop. Ctrl-C keeps
    what was computed; the same command resumes there. Exit status 1: a video could not be read completely.
    """
    from posestream.inference.windows.crop_window import CropWindowSettings
    from posestream.inference.windows.framing import Framing, parse_region
    from posestream.stream.offline.analyze import Analyses, AnalyzeSettings, find_videos
    from posestream.stream.run.display import TerminalDisplay, print_analysis

    named = {name: options.pop(name) for name in ("margin_px", "threshold", "check_every")}
    how = {name: value for name, value in named.items() if value is not None}
    if how and not sides:
        raise InputError("how the window follows was given, but no window: add --window SIDE")
    try:
        framing = Framing(parse_region(crop) if crop else None, scale)
        crop_window = CropWindowSettings(sides=sides, **how) if sides else None
    except ValueError as error:
        raise InputError(str(error)) from error
    videos = find_videos(given, options["output"])
    settings = AnalyzeSettings(framing=framing, crop_window=crop_window, **options)
    with TerminalDisplay(quiet=not sys.stderr.isatty()) as display:
        work = Analyses(videos, settings, show=lambda done: display.progress(done.by_name), tell=display.phase)
        take_interrupts(work.stop)

        kept = "stopping; the poses so far are kept"
        with answer_interrupts(kept, display.notice, busy=lambda: work.loading):
            result = work.run()
    click.echo(json.dumps(result)) if as_json else print_analysis(result)
    sys.exit(FAILED if result["problems"] or result["stopped"] else OK)
