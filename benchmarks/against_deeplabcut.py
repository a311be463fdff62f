"""Compare posestream's TensorFlow engine with DeepLabCut's own code, frame by frame, on the same pixels.

Make the archive with `deeplabcut_reference.py` inside an environment of DeepLabCut 2, then::

    python benchmarks/against_deeplabcut.py PROJECT/dlc-models/iteration-0/NAME/train VIDEO FILE.npz [FILE.npz ...]

Frames are read with OpenCV, as DeepLabCut reads them, and the hash of each must be the one in the archive, so that
only the networks are compared. The last column counts the frames in which PyAV, which posestream itself reads videos
with, decodes other pixels.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import TensorFlowEngine
from posestream.inference.models import load_model

Frame = NDArray[Any]


def read_opencv(video: Path, size: tuple[int, int]) -> Iterator[Frame]:
    """Yield RGB frames, uint8 (H, W, 3), resized to `size` (width, height)."""
    capture = cv2.VideoCapture(str(video))
    while True:
        ok, frame = capture.read()
        if not ok:
            capture.release()
            return
        if (frame.shape[1], frame.shape[0]) != size:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def read_pyav(video: Path, size: tuple[int, int]) -> Iterator[Frame]:
    """Yield the same frames as decoded by PyAV."""
    with av.open(str(video)) as container:
        for picture in container.decode(video=0):
            frame: Frame = picture.to_ndarray(format="rgb24")
            if (frame.shape[1], frame.shape[0]) != size:
                frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
            yield frame


def digest(frame: Frame) -> str:
    """Hash by which the archive knows a frame."""
    return hashlib.sha256(frame.tobytes()).hexdigest()[:32]


def compare(engine: TensorFlowEngine, video: Path, reference: Any, batch_size: int) -> dict[str, Any]:
    """Run the engine on the frames of one archive and measure how far its poses lie from the archive's."""
    width, height = (int(number) for number in reference["size"])
    expected, hashes = reference["poses"], reference["hashes"]
    frames = islice(read_opencv(video, (width, height)), len(hashes))
    rest = len(hashes) % batch_size
    engine.prepare(height, width, "rgb24", {batch_size, rest} - {0})

    poses: list[NDArray[np.float32]] = []
    other_pixels, seconds = 0, 0.0
    while batch := list(islice(frames, batch_size)):
        done = sum(len(part) for part in poses)
        other_pixels += sum(digest(frame) != str(hashes[done + i]) for i, frame in enumerate(batch))
        start = time.perf_counter()
        poses.append(engine.run(np.stack(batch)))
        seconds += time.perf_counter() - start
    ours = np.concatenate(poses).astype(np.float64)
    if len(ours) != len(expected) or other_pixels:
        sys.exit(f"{video}: {len(ours)} frames for {len(expected)}, {other_pixels} with other pixels: no comparison.")

    distance = np.hypot(*np.moveaxis(ours[..., :2] - expected[..., :2], -1, 0))
    pyav = islice(read_pyav(video, (width, height)), len(hashes))
    return {
        "frames": len(ours),
        "size": f"{width}x{height}",
        "max px": f"{distance.max():.6f}",
        "mean px": f"{distance.mean():.6f}",
        "max likelihood": f"{np.abs(ours[..., 2] - expected[..., 2]).max():.2e}",
        "tied peaks": int(reference["tied"].sum()),
        "frames/s": f"{len(ours) / seconds:.1f}",
        "DeepLabCut": f"{len(ours) / float(reference['seconds']):.1f}",
        "PyAV differs": sum(digest(frame) != str(known) for frame, known in zip(pyav, hashes, strict=True)),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the model that the archives were made with")
    parser.add_argument("video", type=Path)
    parser.add_argument("archives", type=Path, nargs="+", help="from deeplabcut_reference.py")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--batch-size", type=int, default=4)
    arguments = parser.parse_args()

    bundle = load_model(arguments.model)
    engine = TensorFlowEngine(bundle, arguments.precision)
    rows = []
    for path in arguments.archives:
        with np.load(path) as reference:
            if str(reference["snapshot"]) != bundle.spec.source.snapshot:
                sys.exit(f"{path} was made with {reference['snapshot']}, not {bundle.spec.source.snapshot}.")
            rows.append(compare(engine, arguments.video, reference, arguments.batch_size))
    print(f"{bundle.spec.name}, {engine.name} {engine.precision}, batches of {arguments.batch_size}")
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
