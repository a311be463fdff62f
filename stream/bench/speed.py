"""The command `bench speed`: the experiment of Mathis & Warren 2018 on this machine, with its tables and figures."""

import csv
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.acquisition.arena import Arena
from posestream.inference.bench.cells import PEER, PUBLISHED_SIZES, Decoder, cells_of, scaled_sizes
from posestream.inference.bench.peer import Peer
from posestream.inference.bench.speed import Experiment, Timing
from posestream.inference.engines.check import shrunk, video_frames
from posestream.inference.errors import ModelError
from posestream.inference.formats.models import load_model
from posestream.inference.windows.crop_window import CropWindowSettings
from posestream.stream.bench.speed_figures import draw_figures
from posestream.stream.bench.speed_rows import cell_rows, timing_row
from posestream.stream.session.json_files import write_json
from posestream.stream.wire.messages import PixelFormat
from posestream.stream.wire.versions import package_version

__all__ = ["SpeedSettings", "measure_speed"]

MARGIN_PX = 64
VERSIONS = ("posestream", "openvino", "tensorflow", "keras", "numpy")

Frames = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class SpeedSettings:
    """What to measure; the command's options."""

    model: Path
    video: Path | None
    frames: int
    size: tuple[int, int]
    scales: tuple[float, ...]
    published: bool
    batch_sizes: tuple[int, ...]
    engines: tuple[tuple[str, str], ...]
    decoders: tuple[Decoder, ...]
    window: int | None
    margin_px: int | None = None
    """Of the window; else 64, or a quarter of its side where that is less."""
    repetitions: int
    seconds: float
    seed: int
    threads: int | None
    against: Path | None
    output: Path | None


def measure_speed(settings: SpeedSettings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure; gives the result, and writes it to the output folder where there is one.

    Returns
    -------
    dict
        JSON: `machine`, `versions`, `model`, `settings`, `refused` (engines and precisions that cannot be had here, and
        why), `stopped` (why it ended before all was measured, or empty), `cells` (a dict for each, see `cell_rows`),
        `timings` (a dict for each measurement), `files`.

    Raises
    ------
    ModelError
        The model, the video, the peer or the output folder cannot be used, or nothing of what was asked can be
        measured. What goes wrong, or Ctrl-C, after the first measurement ends the experiment: see `stopped`.
    """
    if settings.window is not None and settings.video is None:
        raise ModelError("A following window needs an animal that moves: name a video.")
    bundle = load_model(settings.model)
    if settings.output is not None:
        _make_folder(settings.output)
    crop_window = _crop_window(settings)
    pictures, pixel_format = _pictures(settings)
    with Peer(settings.against, settings.model) if settings.against is not None else nullcontext() as peer:
        experiment = Experiment(
            bundle,
            _resized(pictures),
            pixel_format,
            seconds=settings.seconds,
            threads=settings.threads,
            crop_window=crop_window,
            peer=peer,
        )
        stopped = _run(experiment, settings, tell)
        peer_version = {} if peer is None else {PEER: peer.version}
    if not experiment.timings:
        raise ModelError("Nothing of what was asked can be measured here.")
    result: dict[str, Any] = {
        "machine": _machine(),
        "versions": {name: package_version(name) for name in VERSIONS} | peer_version,
        "model": {"name": bundle.spec.name, "net_type": bundle.spec.net_type, "sha256": bundle.digest()},
        "settings": {name: _plain(value) for name, value in asdict(settings).items()},
        "refused": {f"{engine} {precision}": why for (engine, precision), why in experiment.refused.items()},
        "stopped": stopped,
        "cells": cell_rows(bundle, experiment.timings, experiment.poses),
        "timings": [timing_row(timing) for timing in experiment.timings],
        "files": [],
    }
    if settings.output is not None:
        result["files"] = _write(settings.output, result, tell)
    return result


def _run(experiment: Experiment, settings: SpeedSettings, tell: Callable[[str], None]) -> str:
    """Measure every cell; gives why that ended early, or nothing."""
    published = PUBLISHED_SIZES if settings.published else ()
    cells = cells_of(
        settings.engines,
        settings.decoders,
        list(dict.fromkeys([*scaled_sizes(settings.size, settings.scales), *published])),
        settings.batch_sizes,
        window=settings.window,
        peer=settings.against is not None,
    )

    def told(done: int, of: int, timing: Timing) -> None:
        cell = timing.cell
        what = f"{cell.engine} {cell.precision} {cell.decoder} {cell.frames} in batches of {cell.batch}"
        tell(f"{done} of {of}: {what}: {timing.frames_per_second:.1f} frames/s")

    try:
        experiment.run(cells, settings.repetitions, settings.seed, told)
    except (ModelError, KeyboardInterrupt) as error:
        if not experiment.timings:
            raise
        return str(error) or "interrupted"
    return ""


def _crop_window(settings: SpeedSettings) -> Callable[[int], CropWindowSettings] | None:
    """Give what makes the crop window of a side, where one is asked for."""
    if settings.window is None:
        return None

    def of_side(side: int) -> CropWindowSettings:
        margin_px = min(MARGIN_PX, side // 4) if settings.margin_px is None else settings.margin_px
        return CropWindowSettings(sides=(side,), margin_px=margin_px)

    try:
        of_side(settings.window)
    except ValueError as error:
        raise ModelError(f"--window: {error}.") from error
    return of_side


def _pictures(settings: SpeedSettings) -> tuple[list[Frames], PixelFormat]:
    """Give the first frames, (H, W, C), and what they are: grey where all of them are."""
    if settings.video is None:
        width, height = settings.size
        arena, found = Arena(width, height), []
        for _ in range(settings.frames):
            arena.advance()
            found.append(np.empty((height, width, 1), np.uint8))
            arena.render(found[-1][..., 0])
        return found, "gray8"
    found = list(islice(video_frames(settings.video), settings.frames))
    if not found:
        raise ModelError(f"{settings.video} has no frames.")
    if all(
        (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all() for picture in found
    ):
        return [np.ascontiguousarray(picture[..., :1]) for picture in found], "gray8"
    return found, "rgb24"


def _resized(pictures: Sequence[Frames]) -> Callable[[int, int], Frames]:
    kept: dict[tuple[int, int], Frames] = {}

    def frames(width: int, height: int) -> Frames:
        if (size := (width, height)) not in kept:
            channels = pictures[0].shape[2]
            kept[size] = np.stack([shrunk(picture, size).reshape(height, width, channels) for picture in pictures])
        return kept[size]

    return frames


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder} cannot be made: {error.strerror or error}.") from error


def _write(folder: Path, result: dict[str, Any], tell: Callable[[str], None]) -> list[str]:
    """Write `speed.csv`, `speed.json` and the figures; gives their paths."""
    try:
        table = folder / "speed.csv"
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(result["timings"][0]))
            writer.writeheader()
            writer.writerows(result["timings"])
        figures = draw_figures(folder, result)
        if not figures:
            tell('no figures: Matplotlib is not installed (pip install "posestream[train]")')
        files = [str(table), *map(str, figures), str(folder / "speed.json")]
        write_json(folder / "speed.json", result | {"files": files})
    except OSError as error:
        raise ModelError(f"{folder} cannot be written to: {error.strerror or error}.") from error
    return files


def _machine() -> dict[str, Any]:
    cores = os.cpu_count()
    return {"processor": _processor(), "cores": cores, "system": f"{platform.system()} {platform.release()}"}


def _processor() -> str:
    try:
        from posestream.inference.engines.openvino_engine import DEVICE
        from posestream.inference.engines.openvino_graph import import_openvino

        return str(import_openvino().Core().get_property(DEVICE, "FULL_DEVICE_NAME"))
    except ModelError:
        return platform.processor() or platform.machine()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
