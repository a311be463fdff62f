"""`posestream model check`: run a model here, and hold it against what DeepLabCut said."""

from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np

from posestream.inference.engines import open_engine
from posestream.inference.engines.check import Recorded, compare, read_recorded, run_batches, video_frames
from posestream.inference.errors import ModelError
from posestream.inference.formats.models import load_model
from posestream.stream.commands.tables import markdown_table
from posestream.stream.offline.progress import Progress

__all__ = ["check_model", "print_check"]

NOISE_SIZE = (480, 640)


def check_model(
    source: Path,
    *,
    video: Path | None,
    against: tuple[Path, ...],
    frames: int,
    batch_size: int,
    engine: str = "auto",
    precision: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
    show: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Run a model, and return what is to be shown.

    Without a precision it is float32 where the model is held against DeepLabCut, as the limits are float32's, and what
    suits the machine otherwise. `tell` is called with what is being done now, `show` after every batch.

    Raises
    ------
    ModelError
        The model, the video or an archive cannot be read, or they do not go together.
    """
    tell("loading the network")
    bundle = load_model(source)
    given = [read_recorded(path, video) for path in against] if against else [_pictures(video, frames)]
    runs = open_engine(bundle, engine, precision or ("float32" if against else "auto"))
    rows: list[dict[str, Any]] = []
    for number, recorded in enumerate(given, start=1):
        name = recorded.name + (f" ({number} of {len(given)})" if len(given) > 1 else "")
        tell(f"{name}: compiling the network for {_size(recorded.frames)} pixels")

        def shown(done: int, seconds: float, name: str = name, total: int = len(recorded.frames)) -> None:
            show(Progress(name, done, total, seconds))

        poses, per_second = run_batches(runs, recorded.frames, recorded.pixel_format, batch_size, shown)
        row = {"size": _size(recorded.frames), "pixels": recorded.pixel_format}
        if not against:
            rows.append(row | {"frames": len(recorded.frames), "frames_per_second": per_second})
            continue
        difference = compare(bundle, recorded, poses)
        rows.append(
            {
                "archive": recorded.name,
                **row,
                **asdict(difference),
                "frames_per_second": per_second,
                "deeplabcut_frames_per_second": recorded.frames_per_second,
                "within_limits": difference.within_limits,
            }
        )
    return {
        "model": bundle.spec.name,
        "engine": runs.name,
        "precision": runs.precision,
        "engine_reason": runs.remark,
        "batch_size": batch_size,
        "rows": rows,
        "within_limits": all(row.get("within_limits", True) for row in rows),
    }


def _pictures(video: Path | None, frames: int) -> Recorded:
    """Give frames of a video, or of noise, as if there were poses to them."""
    if video is None:
        pictures = np.random.default_rng(0).integers(0, 256, (frames, *NOISE_SIZE, 3), dtype=np.uint8)
    elif not (read := list(islice(video_frames(video), frames))):
        raise ModelError(f"{video} has no frames.")
    else:
        pictures = np.stack(read)
    return Recorded("noise" if video is None else video.name, pictures, np.empty((0, 0, 3)), 0.0)


def print_check(result: dict[str, Any]) -> None:
    """Print the result for people, as a table in Markdown."""
    click.echo(f"{result['model']}, {result['engine']} {result['precision']}, batches of {result['batch_size']}")
    if result["engine_reason"]:
        click.echo(result["engine_reason"])
    rows = [{key.replace("_", " "): _shown(key, value) for key, value in row.items()} for row in result["rows"]]
    click.echo("\n".join(markdown_table(rows)))


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if not isinstance(value, float):
        return str(value)
    if key.endswith("likelihood"):
        return f"{value:.1e}"
    return f"{value:.1f}" if key.endswith("per_second") else f"{value:.6f}"


def _size(frames: Any) -> str:
    return f"{frames.shape[2]}x{frames.shape[1]}"
