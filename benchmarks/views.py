"""Milliseconds that a view takes for a frame: python benchmarks/views.py [ROUNDS].

Each case is a frame's upper and lower half, turned and joined, against one plain copy of the frame; the median of the
rounds, which go through the cases in turn, so that a busy machine is busy for all.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from report import markdown

from posestream.acquisition.camera import CameraFormat
from posestream.acquisition.view import View
from posestream.stream.wire.messages import PixelFormat
from posestream.stream.wire.settings import MaskSettings, RegionSettings, ViewSettings

SIZES = ((640, 480), (1280, 1024))
FORMATS: tuple[PixelFormat, ...] = ("gray8", "bgr24")


def views(width: int, height: int) -> dict[str, ViewSettings]:
    """Give views of two regions that together show the whole frame."""
    halves = [RegionSettings(x=0, y=y, width=width, height=height // 2) for y in (0, height // 2)]
    flipped = RegionSettings(x=0, y=height // 2, width=width, height=height // 2, flip="vertical")
    regions, triangle = (halves[0], flipped), (((0, 0), (width, 0), (0, height)),)
    return {
        "two regions": ViewSettings(regions=tuple(halves)),
        "one flipped": ViewSettings(regions=regions),
        "one flipped, the whole rotated by 90": ViewSettings(regions=regions, rotate=90),
        "one flipped, mask": ViewSettings(regions=regions, mask=MaskSettings(polygons=triangle)),
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=300)
    rounds = parser.parse_args().rounds
    rows: list[dict[str, Any]] = []
    rng = np.random.default_rng(0)
    for width, height in SIZES:
        for pixel_format in FORMATS:
            camera = CameraFormat(width=width, height=height, pixel_format=pixel_format)
            pixels = rng.integers(0, 256, camera.shape, np.uint8)
            made = {name: View(view, camera, "top", Path()) for name, view in views(width, height).items()}
            outs = {name: np.empty(view.format.shape, np.uint8) for name, view in made.items()}
            taken: dict[str, list[float]] = {name: [] for name in ["", *made]}
            plain = np.empty_like(pixels)
            for _ in range(rounds):
                for name, times in taken.items():
                    began = time.perf_counter()
                    if name:
                        made[name].apply(pixels, outs[name])
                    else:
                        np.copyto(plain, pixels)
                    times.append((time.perf_counter() - began) * 1e3)
            copy_ms = median(taken.pop(""))
            for name, times in taken.items():
                ms = median(times)
                frame = f"{width}x{height} {pixel_format}"
                rows.append({"frame": frame, "view": name, "ms": f"{ms:.3f}", "plain copies": f"{ms / copy_ms:.1f}"})
    print(markdown(rows))


if __name__ == "__main__":
    main()
