"""Poses of a video by DeepLabCut's own TensorFlow code, kept for `posestream model check --against`.

Runs inside an environment where DeepLabCut 2 is installed (posestream need not be there)::

    python benchmarks/deeplabcut_reference.py PROJECT/dlc-models/iteration-0/NAME/train VIDEO OUT.npz [--size 320x240]

It builds the graph, restores the snapshot and finds the peaks with DeepLabCut's functions `setup_pose_prediction` and
`getpose`, one frame at a time. A hash of the pixels of every frame is kept too, so that the comparison can show that
both programs saw the same pictures.
"""

import argparse
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("DLClight", "True")  # DeepLabCut's own switch: no windows


def read_frames(video: Path, size: tuple[int, int] | None) -> Iterator[np.ndarray]:
    """Yield the frames as RGB, uint8 (H, W, 3), resized to `size` (width, height) where that is given."""
    capture = cv2.VideoCapture(str(video))
    while True:
        ok, frame = capture.read()
        if not ok:
            capture.release()
            return
        if size is not None and (frame.shape[1], frame.shape[0]) != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def newest_snapshot(folder: Path) -> Path:
    """Path of the snapshot with the most iterations, without its suffix."""
    snapshots = sorted(folder.glob("snapshot-*.index"), key=lambda path: int(path.stem.split("-")[1]))
    if not snapshots:
        raise SystemExit(f"{folder}: no snapshot-N.index here")
    return snapshots[-1].with_suffix("")


def main() -> None:
    """Run DeepLabCut on every frame and write the archive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="DeepLabCut train folder")
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path, help="archive to write (.npz)")
    parser.add_argument("--size", help="WIDTHxHEIGHT to resize to; the video's own size where not given")
    parser.add_argument("--frames", type=int, help="stop after so many frames")
    arguments = parser.parse_args()
    size = None
    if arguments.size:
        width, height = arguments.size.split("x")
        size = (int(width), int(height))

    from deeplabcut.pose_estimation_tensorflow.config import load_config  # type: ignore[import-not-found]
    from deeplabcut.pose_estimation_tensorflow.core import predict  # type: ignore[import-not-found]
    from deeplabcut.version import __version__  # type: ignore[import-not-found]

    config: dict[str, Any] = load_config(str(arguments.model / "pose_cfg.yaml"))
    snapshot = newest_snapshot(arguments.model)
    config["init_weights"] = str(snapshot)
    config["batch_size"] = 1
    session, inputs, outputs = predict.setup_pose_prediction(config)

    poses, hashes, tied, shape = [], [], [], (0, 0)
    start = time.perf_counter()
    for number, frame in enumerate(read_frames(arguments.video, size)):
        if number == arguments.frames:
            break
        shape = frame.shape[:2]
        hashes.append(hashlib.sha256(frame.tobytes()).hexdigest()[:32])
        scoremap, _, pose = predict.getpose(frame, config, session, inputs, outputs, outall=True)
        poses.append(pose)
        tied.append((scoremap == scoremap.max(axis=(0, 1))).sum(axis=(0, 1)) > 1)
    seconds = time.perf_counter() - start

    np.savez(
        arguments.out,
        poses=np.asarray(poses, dtype=np.float64),
        frames=np.arange(len(poses)),
        hashes=np.asarray(hashes),
        tied=np.asarray(tied),
        size=np.asarray([shape[1], shape[0]]),
        snapshot=snapshot.name,
        deeplabcut=__version__,
        seconds=seconds,
    )
    print(f"DeepLabCut {__version__}, {snapshot.name}: {len(poses)} frames of {shape[1]}x{shape[0]} in {seconds:.1f} s")


if __name__ == "__main__":
    main()
