"""How good a network of the open field's four body parts is: python benchmarks/bundled_network.py [options].

On arenas of seeds that no training has seen it prints the error at three sizes. With `--clip VIDEO`, a video of one
mouse without labels, it prints the longest way that a confident body part goes between successive frames, in lengths
of the body, and with `--overlays PICTURE` it draws the poses onto 20 frames of it, to be looked at. With `--labels
PROJECT`, a DeepLabCut project that the network was not trained on, it prints the error on its labels.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from report import markdown

from posestream.inference.engines import open_engine
from posestream.inference.engines.check import shrunk, video_frames
from posestream.inference.formats.models import load_model
from posestream.inference.training.evaluation import FACTORS, Errors, evaluate
from posestream.inference.training.labels import read_labels
from posestream.stream.commands.train import UNSEEN_SEEDS, arena_frames

CONFIDENT = 0.6
COLOURS = ((60, 76, 231), (219, 152, 52), (18, 156, 243), (113, 204, 46))
TILES, COLUMNS, ENLARGED = 20, 5, 2
AROUND_PX = 90


class Network:
    """A network that takes frames of any size."""

    def __init__(self, model: str, engine: str, precision: Any) -> None:
        bundle = load_model(model)
        self.bodyparts = bundle.spec.bodyparts
        self._engine = open_engine(bundle, engine, precision, None)
        self._sizes: set[tuple[int, ...]] = set()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Poses of RGB frames, uint8 (B, H, W, 3): (B, K, 3)."""
        if (size := frames.shape[1:3]) not in self._sizes:
            height, width = size
            self._engine.prepare(height, width, "rgb24", [1])
            self._sizes.add(size)
        return np.concatenate([self._engine.run(frame[None]) for frame in frames])


def error_row(what: str, errors: Errors) -> dict[str, Any]:
    """Give a row of the table of errors."""
    parts = {f"{part}, px": f"{px:.2f}" for part, px in errors.parts.items()}
    size = f"{round(640 * errors.factor)}x{round(480 * errors.factor)}"
    row = {"frames": what, "size": size, "RMSE, px": f"{errors.rmse_px:.2f}", "median, px": f"{errors.median_px:.2f}"}
    return row | parts | {"mean likelihood": f"{errors.likelihood:.3f}"}


def clip_poses(network: Network, clip: Path, size: tuple[int, int] | None) -> tuple[NDArray[np.float64], float]:
    """Poses (N, K, 3) of a video in pixels of its own frames, and the length of the body in them."""
    poses = []
    for frame in video_frames(clip):
        small = shrunk(frame, size)
        ratio = np.array([frame.shape[1] / small.shape[1], frame.shape[0] / small.shape[0]])
        pose = network(small[None])[0].astype(np.float64)
        pose[:, :2] = (pose[:, :2] + 0.5) * ratio - 0.5
        poses.append(pose)
    found = np.array(poses)
    snout, tail = (network.bodyparts.index(part) for part in ("snout", "tailbase"))
    sure = (found[:, [snout, tail], 2] > CONFIDENT).all(axis=1)
    return found, float(np.median(np.hypot(*(found[sure, snout, :2] - found[sure, tail, :2]).T)))


def clip_row(size: str, poses: NDArray[np.float64], body_px: float) -> dict[str, Any]:
    """Give a row of the table of jumps."""
    ways = np.hypot(*np.moveaxis(np.diff(poses[..., :2], axis=0), -1, 0))
    both = (poses[1:, :, 2] > CONFIDENT) & (poses[:-1, :, 2] > CONFIDENT)
    return {
        "size": size,
        "frames": len(poses),
        "confident poses": f"{(poses[..., 2] > CONFIDENT).mean():.1%}",
        "body, px": f"{body_px:.0f}",
        "longest way between two frames, px": f"{ways[both].max():.1f}",
        "in bodies": f"{ways[both].max() / body_px:.2f}",
        "99 %, px": f"{np.percentile(ways[both], 99):.1f}",
    }


def overlays(clip: Path, poses: NDArray[np.float64], picture: Path) -> None:
    """Draw the poses onto pieces of 20 frames, spread over the video; hollow circles are not confident."""
    chosen = set(np.linspace(0, len(poses) - 1, TILES).astype(int).tolist())
    tiles = [_tile(frame, poses[n], n) for n, frame in enumerate(video_frames(clip)) if n in chosen]
    cv2.imwrite(str(picture), np.vstack([np.hstack(row) for row in _rows(tiles)]))


def _rows(tiles: list[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    for first in range(0, len(tiles), COLUMNS):
        yield tiles[first : first + COLUMNS]


def _tile(frame: NDArray[np.uint8], pose: NDArray[np.float64], number: int) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    x, y = (
        int(np.clip(at, AROUND_PX, side - AROUND_PX))
        for at, side in zip(pose[:, :2].mean(0), (width, height), strict=True)
    )
    piece = frame[y - AROUND_PX : y + AROUND_PX, x - AROUND_PX : x + AROUND_PX, ::-1]
    tile: Any = cv2.resize(piece, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    for (at_x, at_y, likelihood), colour in zip(pose, COLOURS, strict=True):
        at = (round((at_x - x + AROUND_PX + 0.5) * ENLARGED), round((at_y - y + AROUND_PX + 0.5) * ENLARGED))
        cv2.circle(tile, at, 5, colour, -1 if likelihood > CONFIDENT else 1, cv2.LINE_AA)
    cv2.putText(tile, str(number), (6, 18), 0, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="openfield-mouse")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--arena", type=int, default=80, metavar="FRAMES")
    parser.add_argument("--labels", type=Path, metavar="PROJECT")
    parser.add_argument("--clip", type=Path, metavar="VIDEO")
    parser.add_argument("--overlays", type=Path, metavar="PICTURE")
    given = parser.parse_args()
    network = Network(given.model, given.engine, given.precision)
    frames = arena_frames(given.arena, network.bodyparts, first_seed=UNSEEN_SEEDS)
    rows = [error_row("arena", errors) for errors in evaluate(network, network.bodyparts, frames)]
    if given.labels is not None:
        labels = read_labels(given.labels)
        rows += [error_row("labels", errors) for errors in evaluate(network, labels.bodyparts, labels.frames, FACTORS)]
    print(markdown(rows))
    if given.clip is None:
        return
    jumps = []
    for size in (None, (320, 240), (160, 120)):
        poses, body_px = clip_poses(network, given.clip, size)
        jumps.append(clip_row("as it is" if size is None else f"{size[0]}x{size[1]}", poses, body_px))
        if size is None and given.overlays is not None:
            overlays(given.clip, poses, given.overlays)
    print(f"\n{markdown(jumps)}")


if __name__ == "__main__":
    main()
