"""How fast the network runs on a GPU, on JAX alone: python benchmarks/gpu.py BUNDLE.

For machines with JAX and without TensorFlow; posestream need not be installed. Only a bundle's ResNet runs (model.json
and weights.safetensors). Besides JAX, NumPy and OpenCV it takes Keras, msgspec and safetensors. What a machine without
a way to the registry lacks is fetched on another one, for the first one's Python and platform, and installed there::

    pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d wheels keras namex optree msgspec
    pip install --no-index --no-deps --find-links wheels keras namex optree msgspec

Frames are an array uint8 (N, H, W) or (N, H, W, C) in an .npy or .npz file, shrunk or enlarged to each size, or else
the simulated arena. A row of the table is one compiled network:

- `device`: from the call until the poses are there, with frames and weights on the card (median, 5th and 95th
  percentile of the runs); `in a row` is the rate where calls are not waited for one by one;
- `with copies` begins with frames in the computer's memory and ends with poses there, one batch after the other;
  `copies in a row` keeps two batches under way;
- the matrix rate is the best of some square products in the same precision, measured beforehand; what the network
  reaches of it, in a row, counts a multiply-add as two operations;
- poses are compared with those in true float32. In bfloat16 and float16 the heads are float32 too, multiplied as
  tensorfloat32 where the card has that.
"""

import argparse
import csv
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

os.environ["KERAS_BACKEND"] = "jax"
ROOT = Path(__file__).resolve().parents[1]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from report import markdown  # noqa: E402

PRECISIONS: dict[str, tuple[Any, str]] = {
    "bfloat16": ("bfloat16", "default"),
    "float16": ("float16", "default"),
    "tensorfloat32": ("float32", "default"),
    "float32": ("float32", "highest"),
}
"""What the network computes in, and how float32 is multiplied."""
SIZES = "640x480,320x240,278x278,115x87,229x174,459x349,649x493,917x698"
BATCHES = "1,64,16,32,8,4,2"
LEAST_RUNS, MOST_RUNS = 5, 200
WARM_UP = 2
IN_A_ROW = 2
SQUARES = (1024, 2048, 4096, 8192)
SQUARE_S = 0.2
"""Larger products than one that takes so long are left out."""


class Timing(NamedTuple):
    """Of one compiled network."""

    device_ms: list[float]
    row_s: float
    """Of a batch when calls are made in a row."""
    copied_ms: list[float]
    copied_row_s: float
    compile_s: float


def from_checkout() -> None:
    """Make this checkout importable where posestream is not installed: its rooms lie at the top, unlike a package's."""
    try:
        import posestream.inference  # noqa: F401
    except ImportError:
        package = ModuleType("posestream")
        package.__path__ = [str(ROOT)]
        sys.modules["posestream"] = package


def load_bundle(folder: Path) -> Any:
    """Give the model."""
    from posestream.inference.formats.bundle import ModelBundle

    return ModelBundle.load(folder)


class Frames:
    """Frames of any size; a batch repeats the first ones."""

    def __init__(self, file: Path | None, most: int) -> None:
        self._most = most
        self._pictures: np.ndarray | None = None
        if file is None:
            return
        loaded = np.load(file, allow_pickle=False)
        pictures = loaded[loaded.files[0]] if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
        if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4):
            raise SystemExit(f"{file}: frames must be uint8 (N, H, W) or (N, H, W, C), not {pictures.dtype}.")
        self._pictures = pictures if pictures.ndim == 4 else pictures[..., None]

    def of(self, width: int, height: int, batch: int) -> np.ndarray:
        """Give a batch, uint8 (B, H, W, C)."""
        if self._pictures is None:
            return np.resize(_arena(width, height, min(self._most, batch)), (batch, height, width, 1))
        pictures = self._pictures[: min(self._most, batch)]
        small = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in pictures]
        return np.resize(np.array(small, np.uint8), (batch, height, width, pictures.shape[-1]))


def _arena(width: int, height: int, count: int) -> np.ndarray:
    from posestream.acquisition.arena import Arena

    arena = Arena(width, height)
    frames = np.empty((count, height, width, 1), np.uint8)
    for frame in frames:
        arena.render(frame[..., 0])
        arena.advance()
    return frames


def matrix_rate(precision: str) -> float:
    """Give the floating-point operations a second of the largest square product that is not too slow."""
    import jax

    policy, how = PRECISIONS[precision]
    best = 0.0
    with jax.default_matmul_precision(how):
        for side in SQUARES:
            keys = jax.random.split(jax.random.key(0))
            left, right = (jax.random.normal(key, (side, side), policy) for key in keys)
            product = jax.jit(lambda a, b: a @ b).lower(left, right).compile()
            product(left, right).block_until_ready()
            runs = 1
            while (taken := _in_a_row(partial(product, left, right), runs)) < 0.05 and runs < 1024:
                runs *= 4
            best = max(best, 2 * side**3 * runs / taken)
            if taken / runs * 8 > SQUARE_S:
                break
    return best


def _in_a_row(call: Callable[[], Any], runs: int) -> float:
    """Seconds of some calls of which only the last is waited for."""
    began = time.perf_counter()
    for _ in range(runs):
        last = call()
    last.block_until_ready()
    return time.perf_counter() - began


class Network:
    """The network in one precision, for JAX to compile at every shape."""

    def __init__(self, bundle: Any, precision: str, channels: int, *, decode: bool) -> None:
        import jax

        from posestream.inference.networks.network import build_network

        policy, self._how = PRECISIONS[precision]
        pixel_format: Any = "gray8" if channels == 1 else "rgb24"
        model = build_network(bundle, pixel_format=pixel_format, precision=policy, decode=decode)
        groups = (model.trainable_variables, model.non_trainable_variables)
        self._weights = [[variable.value for variable in group] for group in groups]

        def run(weights: Any, frames: Any) -> Any:
            outputs, _ = model.stateless_call(*weights, frames, training=False)
            return outputs if decode else outputs[0]

        self._run = jax.jit(run)

    def compiled(self, frames: Any) -> Callable[[Any], Any]:
        """Give the network compiled for the shape of frames on the device; weights stay arguments, not constants."""
        import jax

        with jax.default_matmul_precision(self._how):
            program = self._run.lower(self._weights, frames).compile()
        return lambda pixels: program(self._weights, pixels)


def measure(network: Network, frames: np.ndarray, least_s: float) -> tuple[Timing, np.ndarray]:
    """Time one shape for at least so long, and give the poses of its frames."""
    import jax

    on_device = jax.device_put(frames)
    began = time.perf_counter()
    call = network.compiled(on_device)
    poses = np.asarray(call(on_device))
    compile_s = time.perf_counter() - began
    device = _times(lambda: call(on_device).block_until_ready(), least_s)
    copied = _times(lambda: np.asarray(call(jax.device_put(frames))), least_s)
    runs = len(device)
    row_s = _in_a_row(lambda: call(on_device), runs) / runs
    began = time.perf_counter()
    waiting: list[Any] = []
    for _ in range(runs):
        waiting.append(call(jax.device_put(frames)))
        if len(waiting) >= IN_A_ROW:
            np.asarray(waiting.pop(0))
    for poses_left in waiting:
        np.asarray(poses_left)
    return Timing(device, row_s, copied, (time.perf_counter() - began) / runs, compile_s), poses


def _times(call: Callable[[], Any], least_s: float) -> list[float]:
    """Milliseconds of each of many calls."""
    for _ in range(WARM_UP):
        call()
    taken: list[float] = []
    while len(taken) < LEAST_RUNS or (len(taken) < MOST_RUNS and sum(taken) < least_s * 1e3):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


def grid(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure cell by cell, the sizes in the order given, until the time is up; give the rows as they come."""
    import jax

    from posestream.inference.arithmetic import multiply_adds

    ends = time.monotonic() + given.seconds
    bundle = load_bundle(given.bundle)
    source = Frames(given.frames, given.most_frames)
    channels = source.of(64, 64, 1).shape[-1]
    rates = {precision: matrix_rate(precision) for precision in given.precisions}
    for precision, rate in rates.items():
        print(f"{precision}: matrix products at {rate / 1e12:.3g} TFLOP/s", file=sys.stderr, flush=True)
    networks = {name: Network(bundle, name, channels, decode=given.decode) for name in given.precisions}
    exact = Network(bundle, "float32", channels, decode=True)
    for width, height in given.sizes:
        operations = 2 * multiply_adds(bundle.spec, height, width)
        reference: np.ndarray | None = None
        for batch in given.batches:
            for precision, network in networks.items():
                if time.monotonic() >= ends:
                    print(f"Stopped after {given.seconds:g} s, before {width}x{height}, {batch}.", file=sys.stderr)
                    return
                frames = source.of(width, height, batch)
                if reference is None and given.decode:
                    compared = jax.device_put(source.of(width, height, given.most_frames))
                    reference = np.asarray(exact.compiled(compared)(compared))
                timing, poses = measure(network, frames, given.run_seconds)
                agreed = _apart(poses, reference[:batch]) if reference is not None else {}
                yield {
                    "size": f"{width}x{height}",
                    "batch": batch,
                    "precision": precision,
                    **_columns(timing, batch, operations, rates[precision]),
                    **agreed,
                }


def _columns(timing: Timing, batch: int, operations: int, rate: float) -> dict[str, Any]:
    low, middle, high = np.percentile(timing.device_ms, [5, 50, 95])
    return {
        "device, ms": round(float(middle), 3),
        "5 %": round(float(low), 3),
        "95 %": round(float(high), 3),
        "in a row, frames/s": round(batch / timing.row_s, 1),
        "of the matrix rate, %": round(100 * operations * batch / timing.row_s / rate, 1),
        "with copies, ms": round(float(np.median(timing.copied_ms)), 3),
        "copies in a row, frames/s": round(batch / timing.copied_row_s, 1),
        "runs": len(timing.device_ms),
        "compiling, s": round(timing.compile_s, 1),
    }


def _apart(poses: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """Say how far poses of the first frames are from the reference."""
    px = np.hypot(*np.moveaxis(poses[: len(reference), :, :2] - reference[..., :2], -1, 0))
    return {
        "mean px": round(float(px.mean()), 4),
        "median px": round(float(np.median(px)), 4),
        "largest px": round(float(px.max()), 4),
    }


def machine(given: argparse.Namespace) -> dict[str, Any]:
    """Say what it was measured on."""
    import jax

    device = jax.devices()[0]
    names = ("jax", "jaxlib", "keras", "numpy")
    return {
        "device": device.device_kind if device.platform != "cpu" else f"CPU {platform.machine()}",
        "platform": getattr(device.client, "platform_version", device.platform).replace("\n", " "),
        **{name: version(name) for name in names},
        "python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "model": given.bundle.name,
        "decoder": "in the graph" if given.decode else "left out",
    }


def arguments() -> argparse.ArgumentParser:
    """Give what the command line takes."""

    def sizes(text: str) -> list[tuple[int, int]]:
        return [(int(width), int(height)) for width, height in (size.split("x") for size in text.split(","))]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--frames", type=Path, metavar="NPZ")
    parser.add_argument("--most-frames", type=int, default=16, help="poses of so many are compared")
    parser.add_argument("--sizes", type=sizes, default=sizes(SIZES), metavar="WIDTHxHEIGHT,...")
    parser.add_argument("--batches", type=lambda text: [int(one) for one in text.split(",")], default=BATCHES)
    parser.add_argument("--precisions", type=lambda text: text.split(","), default="bfloat16,float16,tensorfloat32")
    parser.add_argument("--no-decode", dest="decode", action="store_false", help="to see what the decoder costs")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no cell after that")
    parser.add_argument("--run-seconds", type=float, default=1.0, help="each timing takes about that, of many runs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also as .csv or .json")
    return parser


def write(file: Path, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write all that is there so far, so that what is cut off leaves something."""
    if file.suffix == ".json":
        file.write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
        return
    with file.open("w", newline="") as table:
        writer = csv.DictWriter(table, [*rows[0], *about])
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)


def main() -> None:
    """Measure and print the table."""
    given = arguments().parse_args()
    unknown = [name for name in given.precisions if name not in PRECISIONS]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: precisions are {', '.join(PRECISIONS)}.")
    from_checkout()
    about, rows = machine(given), []
    for row in grid(given):
        print(", ".join(f"{key} {value}" for key, value in row.items()), file=sys.stderr, flush=True)
        rows.append(row)
        if given.output is not None:
            write(given.output, about, rows)
    print("; ".join(f"{key} {value}" for key, value in about.items() if value) + "\n")
    print(markdown(rows) if rows else "No cell was measured: give it more seconds.")


if __name__ == "__main__":
    main()
