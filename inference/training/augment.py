"""Cut and change pictures for training, and the body parts' places with them.

First the picture is shrunk by areas, as a camera's binning would; then it is turned, mirrored and cut out in one step,
and at last light, focus, noise, things in the way and compression change what it looks like. (0, 0) is the middle of
the upper left pixel: a scaled place is (x + 0.5) * factor - 0.5.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.training.labels import LabelledFrame

__all__ = ["Crop", "change_looks", "cut_out", "mirrored_order", "scaled"]

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

NEAR_ANIMAL = 0.75
"""Share of the crops that are laid about a body part; the others lie anywhere."""
TURNED = 0.8
"""Share of the crops that are turned by any angle."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A piece of a picture as the network is shown it."""

    pixels: Pixels
    """RGB, uint8 (size, size, 3)."""
    keypoints: Points
    """(K, 2): x and y in pixels of the piece; NaN where it does not show the body part."""


def mirrored_order(bodyparts: Sequence[str]) -> list[int]:
    """For each body part, which one takes its place in a mirror: `leftear` and `rightear`, `paw_L` and `paw_R`."""
    words = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
    letters = {"L": "R", "R": "L", "l": "r", "r": "l"}

    def mirrored(name: str) -> str:
        swapped = re.sub("|".join(words), lambda found: words[found[0]], name)
        if swapped != name:
            return swapped
        return re.sub(r"(?<![A-Za-z0-9])[LRlr](?![A-Za-z0-9])", lambda found: letters[found[0]], name.replace("_", " "))

    spaced = {name.replace("_", " "): number for number, name in enumerate(bodyparts)}
    return [spaced.get(mirrored(name).replace("_", " "), number) for number, name in enumerate(bodyparts)]


def scaled(picture: Pixels, keypoints: Points, factor: float) -> tuple[Pixels, Points]:
    """Resize a picture to the nearest whole pixels, and move the places with it."""
    import cv2

    height, width = picture.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (width, height):
        return picture, keypoints
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized: Any = cv2.resize(picture, size, interpolation=method)
    ratio = np.array([size[0] / width, size[1] / height])
    return resized, (keypoints + 0.5) * ratio - 0.5


def cut_out(
    frame: LabelledFrame, rng: np.random.Generator, *, scale: float, size: int, mirror: Sequence[int] | None
) -> Crop:
    """Cut a square out of a picture, scaled, turned and mirrored by chance.

    Parameters
    ----------
    frame
        The picture and its body parts.
    rng
        Chance.
    scale
        By which the picture is scaled first.
    size
        Of the square, pixels.
    mirror
        What `mirrored_order` says; None leaves pictures unmirrored.
    """
    import cv2

    picture, keypoints = scaled(frame.read(), frame.keypoints, scale)
    height, width = picture.shape[:2]
    middle = np.array([rng.uniform(0, width - 1), rng.uniform(0, height - 1)])
    seen = np.flatnonzero(np.isfinite(keypoints).all(axis=1))
    if seen.size and rng.random() < NEAR_ANIMAL:
        middle = keypoints[rng.choice(seen)] + rng.uniform(-0.4, 0.4, 2) * size
    margin = 0.3 * size  # a piece shows some of what lies beyond the picture, but not much of it
    half = np.array([width, height]) / 2
    middle = np.clip(middle, np.minimum(margin, half), np.maximum(2 * half - margin, half))
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < TURNED else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror is not None and rng.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
        keypoints = keypoints[list(mirror)]
    shift = (size - 1) / 2 - turn @ middle
    matrix = np.column_stack([turn, shift])
    fill = [int(rng.integers(0, 256))] * 3
    piece: Any = cv2.warpAffine(
        picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=fill
    )
    moved = keypoints @ turn.T + shift
    outside = ~((moved > -0.5) & (moved < size - 0.5)).all(axis=1)
    moved[outside] = np.nan
    return Crop(piece, moved)


def change_looks(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Change light, focus, noise and compression of a picture by chance; nothing moves."""
    import cv2

    height, width = pixels.shape[:2]
    picture: Any = pixels.astype(np.float32)
    if rng.random() < 0.8:  # light
        tint = rng.uniform(0.92, 1.08, 3) if rng.random() < 0.3 else np.ones(3)
        picture = (picture * rng.uniform(0.6, 1.25) + rng.uniform(-25, 25)) * tint.astype(np.float32)
    if rng.random() < 0.3:  # from one side
        across, down = rng.uniform(-0.35, 0.35, 2)
        ramp = 1 + across * np.linspace(-1, 1, width)[None, :] + down * np.linspace(-1, 1, height)[:, None]
        picture = picture * ramp[..., None].astype(np.float32)
    if rng.random() < 0.25:  # things in the way
        for _ in range(int(rng.integers(1, 3))):
            corner = rng.uniform(0, 1, 2) * (width, height)
            extent = rng.uniform(0.02, 0.12, 2) * (width, height)
            first, last = (np.round(corner + sign * extent / 2).astype(int).tolist() for sign in (-1, 1))
            cv2.rectangle(picture, first, last, [float(rng.uniform(0, 255))] * 3, -1)
    blur = rng.random()
    if blur < 0.15:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.2)))
    elif blur < 0.25:  # of motion
        length = int(rng.integers(2, 6))
        kernel = np.eye(length, dtype=np.float32) if rng.random() < 0.5 else np.ones((1, length), np.float32)
        picture = cv2.filter2D(picture, -1, kernel / kernel.sum(), anchor=(kernel.shape[1] // 2, kernel.shape[0] // 2))
    if rng.random() < 0.5:
        grey = rng.random() < 0.5
        noise = rng.standard_normal((height, width, 1 if grey else 3), dtype=np.float32)
        picture = picture + noise * np.float32(rng.uniform(0.5, 8))
    changed: Pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    compressed = rng.random()
    if compressed < 0.25:
        return _through_jpeg(changed, int(rng.integers(25, 95)))
    if compressed < 0.4:
        return _through_h264(changed, int(rng.integers(18, 38)))
    return changed


def _through_jpeg(pixels: Pixels, quality: int) -> Pixels:
    import cv2

    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(decoded[..., ::-1])


def _through_h264(pixels: Pixels, crf: int) -> Pixels:
    """Encode as the only frame of a video, with the recorder's encoder, and decode it again."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as video:
        options = {"crf": str(crf), "preset": "ultrafast", "threads": "1"}
        stream: Any = video.add_stream("libx264", rate=30, options=options)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], "yuv420p"
        for packet in (*stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")), *stream.encode(None)):
            video.mux(packet)
    file.seek(0)
    with av.open(file, "r") as container:
        decoded: Any = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return np.asarray(decoded, np.uint8)
