"""Choose the frames of a lab's videos to learn from: such that differ, by clusters of thumbnails.

The last third of each video is kept apart: what is measured there, the student has not seen.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.offline.video_reader import VideoReader

__all__ = ["Recording", "Survey", "grey", "pick", "read_picked", "survey_video"]

FEWEST_FRAMES = 60
"""Of a video that can be learnt from."""
THUMBNAIL_PX = (32, 24)
CANDIDATES = 4000
"""Frames of a video that are chosen from, at most twice as many: neighbours hardly differ."""
FEATURES = 24
"""Principal components of the thumbnails that are compared."""
ITERATIONS = 10
FEW_FOR_CLUSTERS = 2

Pixels = NDArray[np.uint8]


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What was picked of a video."""

    path: str
    width: int
    height: int
    """Upright, pixels."""
    frames: int
    """In the whole video."""
    learnt: list[int]
    """Numbers of the frames to learn from, in order."""
    apart: list[int]
    """Of frames kept apart, in order; all are behind those."""


class Survey:
    """The thumbnails of a video.

    Attributes
    ----------
    frames : int
        In the whole video.
    numbers : list[int]
        Of the frames that have a thumbnail.
    thumbnails : list[NDArray[np.float32]]
        One for each of them.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        self.path, self.width, self.height = path, width, height
        self.frames = 0
        self.numbers: list[int] = []
        self.thumbnails: list[NDArray[np.float32]] = []

    @property
    def apart_from(self) -> int:
        """Number of the first frame that is kept apart."""
        return self.frames - self.frames // 3


def survey_video(path: Path, show: Callable[[int, int], None] = lambda _done, _total: None) -> Survey:
    """Look at all of a video.

    Parameters
    ----------
    path
        The video.
    show
        Called now and then with the frames read, and how many there are, 0 where nobody knows.

    Raises
    ------
    VideoError
        It can't be read.
    ModelError
        It is too short.
    """
    import cv2

    with VideoReader(path) as reader:
        found, step = Survey(path, reader.width, reader.height), 1
        for number, pixels in reader.frames():
            found.frames = number + 1
            if number % step == 0:
                small: Any = cv2.resize(grey(pixels), THUMBNAIL_PX, interpolation=cv2.INTER_AREA)
                found.numbers.append(number)
                found.thumbnails.append(small.astype(np.float32).ravel())
                if len(found.numbers) > 2 * CANDIDATES:
                    found.numbers, found.thumbnails, step = found.numbers[::2], found.thumbnails[::2], 2 * step
            if number % 50 == 0:
                show(number, reader.expected)
    if found.frames < FEWEST_FRAMES:
        raise ModelError(f"{path} has {found.frames} frames; a video to learn from has {FEWEST_FRAMES} or more.")
    return found


def pick(survey: Survey, learnt: int, apart: int, seed: int) -> Recording:
    """Pick frames of a video.

    Parameters
    ----------
    survey
        The video.
    learnt
        How many to learn from: one of each cluster.
    apart
        How many of its last third, spread evenly.
    seed
        Of the clusters.
    """
    numbers = [number for number in survey.numbers if number < survey.apart_from]
    thumbnails = np.stack(survey.thumbnails[: len(numbers)])
    chosen = sorted(numbers[place] for place in _differing(thumbnails, learnt, seed))
    last = np.linspace(survey.apart_from, survey.frames - 1, min(apart, survey.frames - survey.apart_from))
    return Recording(
        path=str(survey.path),
        width=survey.width,
        height=survey.height,
        frames=survey.frames,
        learnt=chosen,
        apart=sorted({round(number) for number in last}),
    )


def read_picked(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, Pixels | None, Pixels, Pixels | None]]:
    """Read frames with their neighbours.

    Yields
    ------
    tuple
        Number of the frame; the one before it, itself, and the one behind it, uint8 (H, W, 1 or 3), None where there is
        none.
    """
    wanted = list(numbers)
    kept: dict[int, Pixels] = {}
    near = {other for number in wanted for other in (number - 1, number, number + 1)}
    with VideoReader(path) as reader:
        for number, pixels in reader.frames():
            if number in near:
                kept[number] = pixels.copy()
            while wanted and wanted[0] < number:
                first = wanted.pop(0)
                if first in kept:
                    yield first, kept.get(first - 1), kept[first], kept.get(first + 1)
                kept = {other: kept[other] for other in kept if other >= first}
            if not wanted:
                return
    for first in wanted:
        if first in kept:
            yield first, kept.get(first - 1), kept[first], None


def grey(pixels: Pixels) -> Pixels:
    """Give the brightness, (H, W), of RGB or grey (H, W, C)."""
    import cv2

    if pixels.shape[2] == 1:
        return pixels[..., 0]
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _differing(thumbnails: NDArray[np.float32], count: int, seed: int) -> list[int]:
    """Places of thumbnails that differ: of each cluster, the one nearest to its middle."""
    import cv2

    if len(thumbnails) <= count:
        return list(range(len(thumbnails)))
    if count < FEW_FOR_CLUSTERS:
        return [len(thumbnails) // 2][:count]
    centred = thumbnails - thumbnails.mean(axis=0)
    _, _, axes = np.linalg.svd(centred[:: max(1, len(centred) // 1000)], full_matrices=False)
    features = np.ascontiguousarray(centred @ axes[:FEATURES].T, np.float32)
    cv2.setRNGSeed(seed)
    until = (cv2.TERM_CRITERIA_MAX_ITER, ITERATIONS, 0.0)
    _, labels, middles = cv2.kmeans(features, count, np.empty(0), until, 1, cv2.KMEANS_PP_CENTERS)
    places = []
    for cluster, middle in enumerate(middles):
        members = np.flatnonzero(labels.ravel() == cluster)
        if members.size:
            distances = np.square(features[members] - middle).sum(axis=1)
            places.append(int(members[distances.argmin()]))
    return places
