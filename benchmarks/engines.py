"""How fast each engine is, and how far from float32: python benchmarks/engines.py MODEL VIDEO [FRAMES].

All engines and precisions take every batch alternately, so that background load affects all equally: read ratios. The
model's int8 graph is calibrated at each size on other frames of the video, in a bundle that is thrown away.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from report import markdown

from posestream.inference.engine import Precision
from posestream.inference.engines import open_engine
from posestream.inference.engines.int8 import Calibration, save_int8
from posestream.inference.engines.quantise import quantise, spread_frames
from posestream.inference.formats.models import load_model

SIZES = ((320, 240), (640, 480))
BATCHES = (1, 8)
WARM_UP = 1
ENGINES: tuple[tuple[str, Precision], ...] = (
    ("tensorflow", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("frames", type=int, nargs="?", default=32)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        pictures = spread_frames(given.video, 2 * given.frames, size)
        calibrating, frames = pictures[::2], np.ascontiguousarray(pictures[1::2, :, :, :1])
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            load_model(given.model).save(Path(folder) / "bundle")
            bundle = load_model(Path(folder) / "bundle")
            about = Calibration(
                video=given.video.name, frames=len(calibrating), width=size[0], height=size[1], versions={}
            )
            save_int8(quantise(bundle, calibrating), bundle, about)
            for batch in BATCHES:
                engines = {pair: open_engine(bundle, *pair) for pair in ENGINES}
                for engine in engines.values():
                    engine.prepare(size[1], size[0], "gray8", [batch])
                seconds: dict[tuple[str, Precision], list[float]] = {pair: [] for pair in ENGINES}
                poses: dict[tuple[str, Precision], list[np.ndarray]] = {pair: [] for pair in ENGINES}
                for first in range(0, len(frames) - batch + 1, batch):
                    for pair, engine in engines.items():
                        began = time.perf_counter()
                        poses[pair].append(engine.run(frames[first : first + batch]))
                        seconds[pair].append(time.perf_counter() - began)
                reference = np.concatenate(poses[ENGINES[0]])
                for pair in ENGINES:
                    taken, base = (median(seconds[key][WARM_UP:]) for key in (pair, ENGINES[0]))
                    apart = np.concatenate(poses[pair]) - reference
                    px = np.hypot(apart[..., 0], apart[..., 1])
                    row = {
                        "size": f"{size[0]}x{size[1]}",
                        "batch": batch,
                        "engine": " ".join(pair),
                        "times TensorFlow float32": f"{base / taken:.2f}",
                        "frames/s": f"{batch / taken:.1f}",
                        "mean px": f"{px.mean():.4f}",
                        "median px": f"{np.median(px):.4f}",
                        "largest px": f"{px.max():.3f}",
                    }
                    rows.append(row)
                    print(row, file=sys.stderr, flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()
