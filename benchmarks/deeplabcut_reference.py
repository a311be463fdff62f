"""Poses of a video by DeepLabCut's own code, kept for `posestream model check --against`.

Runs inside an environment where DeepLabCut is installed (posestream need not be there)::

    python benchmarks/deeplabcut_reference.py MODEL VIDEO OUT.npz [--size 320x240] [--colour-map jet] [--frames 100]

MODEL is what DeepLabCut leaves, and each form is run by the program that it was left for, one frame at a time:

- a train folder of DeepLabCut 2 (`setup_pose_prediction` and `getpose`);
- a train folder of DeepLabCut 3 (`get_pose_inference_runner`);
- a folder that DeepLabCut 2 exported, or a `.pt` that DeepLabCut 3 exported (DeepLabCut-Live).

A hash of the pixels of every frame is kept too, so that the comparison can show that both programs saw the same
pictures. A grey video becomes one in colour with `--colour-map`.
"""

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("DLClight", "True")  # DeepLabCut's own switch: no windows

COLOUR_MAPS = {"jet": cv2.COLORMAP_JET}

Estimate = Callable[[np.ndarray], np.ndarray]
"""From an RGB frame, uint8 (H, W, 3), to poses (K, 3)."""


def read_frames(video: Path, size: tuple[int, int] | None, colour_map: str) -> Iterator[np.ndarray]:
    """Yield the frames as RGB, uint8 (H, W, 3), resized to `size` (width, height) where that is given."""
    capture = cv2.VideoCapture(str(video))
    while True:
        ok, frame = capture.read()
        if not ok:
            capture.release()
            return
        if size is not None and (frame.shape[1], frame.shape[0]) != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        if colour_map:
            frame = cv2.applyColorMap(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), COLOUR_MAPS[colour_map])
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def tensorflow_folder(folder: Path) -> tuple[Estimate, str]:
    """Network of a train folder of DeepLabCut 2, with the snapshot of the most iterations."""
    from deeplabcut.pose_estimation_tensorflow.config import load_config  # type: ignore[import-not-found]
    from deeplabcut.pose_estimation_tensorflow.core import predict  # type: ignore[import-not-found]

    snapshots = sorted(folder.glob("snapshot-*.index"), key=lambda path: int(path.stem.split("-")[1]))
    if not snapshots:
        raise SystemExit(f"{folder}: no snapshot-N.index here")
    config: dict[str, Any] = load_config(str(folder / "pose_cfg.yaml"))
    config["init_weights"] = str(snapshots[-1].with_suffix(""))
    config["batch_size"] = 1
    session, inputs, outputs = predict.setup_pose_prediction(config)
    return lambda frame: predict.getpose(frame, config, session, inputs, outputs), snapshots[-1].stem


def torch_folder(folder: Path) -> tuple[Estimate, str]:
    """Network of a train folder of DeepLabCut 3, with the snapshot that DeepLabCut takes itself."""
    from deeplabcut.pose_estimation_pytorch.apis.utils import (  # type: ignore[import-not-found]
        get_pose_inference_runner,
    )

    def rank(path: Path) -> tuple[bool, int]:
        return "best" in path.stem, int(path.stem.rpartition("-")[2])

    snapshot = max(folder.glob("snapshot-*.pt"), key=rank)
    runner = get_pose_inference_runner(folder / "pytorch_config.yaml", snapshot, batch_size=1, device="cpu")
    return lambda frame: runner.inference([frame])[0]["bodyparts"][0], snapshot.stem


def live(model: Path, first: np.ndarray) -> tuple[Estimate, str]:
    """Network of an export, run by DeepLabCut-Live, which takes frames as OpenCV has them."""
    from dlclive import DLCLive

    options = {"model_type": "base"} if model.is_dir() else {"model_type": "pytorch", "device": "cpu"}
    runner = DLCLive(str(model), **options)
    runner.init_inference(cv2.cvtColor(first, cv2.COLOR_RGB2BGR))
    return lambda frame: runner.get_pose(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)), model.name


def main() -> None:
    """Run DeepLabCut on every frame and write the archive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="train folder, exported folder or exported .pt")
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path, help="archive to write (.npz)")
    parser.add_argument("--size", help="WIDTHxHEIGHT to resize to; the video's own size where not given")
    parser.add_argument("--colour-map", choices=sorted(COLOUR_MAPS), default="", help="colours for a grey video")
    parser.add_argument("--frames", type=int, help="stop after so many frames")
    arguments = parser.parse_args()
    size = None
    if arguments.size:
        width, height = arguments.size.split("x")
        size = (int(width), int(height))

    frames = read_frames(arguments.video, size, arguments.colour_map)
    first = next(read_frames(arguments.video, size, arguments.colour_map))
    if arguments.model.is_file() or any(arguments.model.glob("*.pb")):
        estimate, snapshot = live(arguments.model, first)
    elif (arguments.model / "pytorch_config.yaml").is_file():
        estimate, snapshot = torch_folder(arguments.model)
    else:
        estimate, snapshot = tensorflow_folder(arguments.model)
    from deeplabcut.version import __version__  # type: ignore[import-not-found]

    poses, hashes, seconds = [], [], []
    for number, frame in enumerate(frames):
        if number == arguments.frames:
            break
        hashes.append(hashlib.sha256(frame.tobytes()).hexdigest()[:32])
        start = time.perf_counter()
        pose = np.asarray(estimate(frame), dtype=np.float64).reshape(-1, 3)
        seconds.append(time.perf_counter() - start)
        poses.append(pose)

    np.savez(
        arguments.out,
        poses=np.asarray(poses),
        hashes=np.asarray(hashes),
        size=np.asarray([first.shape[1], first.shape[0]]),
        colour_map=arguments.colour_map,
        snapshot=snapshot,
        deeplabcut=__version__,
        seconds=np.asarray(seconds),
    )
    shape = f"{first.shape[1]}x{first.shape[0]}"
    print(f"DeepLabCut {__version__}, {snapshot}: {len(poses)} frames of {shape} in {sum(seconds):.1f} s")


if __name__ == "__main__":
    main()
