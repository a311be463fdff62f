"""Run a model on frames: how fast it is, and whether it says what DeepLabCut said about the same frames.

Poses recorded by DeepLabCut come as an archive of NumPy (`.npz`), in one of two forms:

- `frames_bgr` uint8 (N, H, W, 3), `poses` (N, K, 3), and `seconds`, of each frame or of all;
- `poses`, `hashes` of the RGB frames (32 hexadecimal digits of SHA-256), `size` (width, height), `seconds` and, where a
  grey video was coloured, the name of the `colour_map`, without the frames, which are then read from the video;
  `benchmarks/deeplabcut_reference.py` writes this form.

Frames whose three channels are equal are run as `gray8`, as those of a grey camera would be.
"""

import hashlib
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.engine import Engine
from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.networks.decoder import sigmoid
from posestream.inference.networks.network import build_network
from posestream.stream.disk.video_files import UnreadableError, reading_video, upright
from posestream.stream.wire.messages import PixelFormat

__all__ = [
    "LIMIT_LIKELIHOOD",
    "LIMIT_PX",
    "Difference",
    "Recorded",
    "compare",
    "read_recorded",
    "run_batches",
    "shrunk",
    "tied_peaks",
    "video_frames",
]

DAMAGED = (
    *(OSError, ValueError, EOFError, LookupError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What NumPy raises for archives that are damaged, foreign, or ask for more memory than there is."""

LIMIT_PX = 0.05
LIMIT_LIKELIHOOD = 1e-3
COLOUR_MAPS = ("", "jet")
TIE = 1e-4
"""Cells whose likelihoods are nearer than this tie: which of them is the peak is left to rounding."""

Frames = NDArray[np.uint8]
Poses = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """Poses that DeepLabCut gave, with the frames that it saw."""

    name: str
    frames: Frames
    """uint8 (N, H, W, C): grey, or RGB."""
    poses: Poses
    """float64 (N, K, 3)."""
    frames_per_second: float

    @property
    def pixel_format(self) -> PixelFormat:
        """What the frames hold."""
        return "gray8" if self.frames.shape[3] == 1 else "rgb24"


@dataclass(frozen=True)
class Difference:
    """How far poses lie from recorded ones; in pixels, over all frames and body parts that do not tie."""

    frames: int
    largest_px: float
    mean_px: float
    largest_likelihood: float
    tied: int
    """Poses further off than the limit because two peaks tie; only their likelihoods are compared."""

    @property
    def within_limits(self) -> bool:
        """Whether these are the same poses."""
        return self.largest_px <= LIMIT_PX and self.largest_likelihood <= LIMIT_LIKELIHOOD


def shrunk(frame: Any, size: tuple[int, int] | None) -> Frames:
    """Give a frame, uint8 (H, W, 3), shrunk to `size` (width, height) by areas; None: as it is."""
    import cv2

    if size is None or (frame.shape[1], frame.shape[0]) == size:
        return np.asarray(frame, np.uint8)
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def video_frames(video: Path, size: tuple[int, int] | None = None, colour_map: str = "") -> Iterator[Frames]:
    """Yield the frames of a video, upright, as RGB, uint8 (H, W, 3), shrunk to `size` (width, height) by areas.

    With the colour map `jet`, the brightness is shown in OpenCV's colours of that name: a grey video then is a test in
    colour.

    Raises
    ------
    ModelError
        The video cannot be read.
    """
    import cv2

    try:
        with reading_video(video) as (container, stream):
            for picture in container.decode(stream):
                frame: Any = shrunk(upright(picture, picture.to_ndarray(format="rgb24")), size)
                if colour_map == "jet":
                    frame = cv2.applyColorMap(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLORMAP_JET)[..., ::-1]
                yield frame.astype(np.uint8, copy=False)
    except UnreadableError as error:
        raise ModelError(str(error)) from error


def read_recorded(path: Path, video: Path | None) -> Recorded:
    """Read an archive of poses, and the frames from it or from the video.

    Raises
    ------
    ModelError
        The archive is damaged or of another form, or the video's frames are not those of the archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
    except DAMAGED as error:
        raise ModelError(f"{path} is not an archive of poses (.npz): {error}.") from error
    poses, seconds = content.get("poses"), content.get("seconds")
    if poses is None or seconds is None or poses.dtype.kind != "f" or poses.ndim not in (3, 4) or poses.shape[-1] != 3:
        raise ModelError(f"{path} lacks poses (N, K, 3) or seconds: it is not an archive of DeepLabCut's poses.")
    poses = poses.reshape(len(poses), -1, 3).astype(np.float64)
    if "frames_bgr" in content:
        frames = content["frames_bgr"][..., ::-1]
    elif video is None:
        raise ModelError(f"{path} holds no frames. Name the video that it was made of with --video.")
    else:
        frames = _frames_of(path, video, content)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or len(frames) != len(poses):
        raise ModelError(f"{path} holds frames {frames.dtype} {frames.shape} for {len(poses)} poses.")
    if (frames == frames[..., :1]).all():
        frames = frames[..., :1]
    per_second = float(1 / np.median(seconds)) if seconds.ndim else len(poses) / float(seconds)
    return Recorded(path.name, np.ascontiguousarray(frames), poses, per_second)


def _frames_of(path: Path, video: Path, content: dict[str, NDArray[Any]]) -> Frames:
    """Frames of the video, after checking that they are those that the archive was made of."""
    if "hashes" not in content or "size" not in content or content["size"].shape != (2,):
        raise ModelError(f"{path} holds neither frames nor their hashes and size.")
    hashes = [str(known) for known in content["hashes"]]
    width, height = (int(number) for number in content["size"])
    colour_map = str(content.get("colour_map", ""))
    if colour_map not in COLOUR_MAPS or width < 1 or height < 1:
        raise ModelError(f"{path} tells of frames of {width}x{height} pixels and the colour map {colour_map!r}.")
    frames = list(islice(video_frames(video, (width, height), colour_map), len(hashes)))
    found = [hashlib.sha256(frame.tobytes()).hexdigest()[:32] for frame in frames]
    if found != hashes:
        others = sum(one != other for one, other in zip(found, hashes, strict=False)) + len(hashes) - len(found)
        raise ModelError(f"{others} of {len(hashes)} frames of {video} are not those that {path} was made of.")
    return np.stack(frames)


def run_batches(
    engine: Engine,
    frames: Frames,
    pixel_format: PixelFormat,
    batch_size: int,
    show: Callable[[int, float], None] = lambda _done, _seconds: None,
) -> tuple[Poses, float]:
    """Run frames in batches after warming up; `show` is called after each with the frames done, and the seconds.

    Returns
    -------
    tuple
        Poses float64 (N, K, 3), and frames a second of the engine alone.
    """
    rest = len(frames) % batch_size
    engine.prepare(frames.shape[1], frames.shape[2], pixel_format, {min(batch_size, len(frames)), rest} - {0})
    poses, seconds = [], 0.0
    for first in range(0, len(frames), batch_size):
        ran = time.perf_counter()
        poses.append(engine.run(frames[first : first + batch_size], pixel_format))
        seconds += time.perf_counter() - ran
        show(first + len(poses[-1]), seconds)
    return np.concatenate(poses).astype(np.float64), len(frames) / seconds


def compare(bundle: ModelBundle, recorded: Recorded, poses: Poses) -> Difference:
    """Hold poses against the recorded ones.

    Raises
    ------
    ModelError
        The archive has another number of body parts.
    """
    if poses.shape != recorded.poses.shape:
        raise ModelError(
            f"{recorded.name} has poses {recorded.poses.shape}, but {bundle.spec.name} gives {poses.shape}. "
            "Was it made with the same network?"
        )
    distance = np.hypot(*np.moveaxis(poses[..., :2] - recorded.poses[..., :2], -1, 0))
    tied = tied_peaks(bundle, recorded.frames, recorded.pixel_format, distance > LIMIT_PX)
    counted = distance[~tied] if (~tied).any() else np.zeros(1)
    return Difference(
        frames=len(poses),
        largest_px=float(counted.max()),
        mean_px=float(counted.mean()),
        largest_likelihood=float(np.abs(poses[..., 2] - recorded.poses[..., 2]).max()),
        tied=int(tied.sum()),
    )


def tied_peaks(
    bundle: ModelBundle, frames: Frames, pixel_format: PixelFormat, far: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Say of which poses that are far off (N, K) two peaks tie, so that rounding chose one; frames (N, H, W, C)."""
    tied = np.zeros_like(far)
    if far.any():
        network = build_network(bundle, pixel_format=pixel_format, decode=False)
        for number in np.flatnonzero(far.any(axis=1)):
            tied[number] = far[number] & _ties(bundle, network, frames[number])
    return tied


def _ties(bundle: ModelBundle, network: Any, frame: Frames) -> NDArray[np.bool_]:
    """Say for each body part whether its two likeliest cells are as good as equal."""
    maps = np.asarray(network(frame[None])[0])
    scores = sigmoid(maps) if bundle.spec.apply_sigmoid else maps
    best = np.sort(scores.reshape(-1, scores.shape[-1]), axis=0)[-2:]
    return np.asarray(best[-1] - best[0] < TIE)
