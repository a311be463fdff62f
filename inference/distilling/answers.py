"""The picked frames of one video and what the teacher says of them, on the disk: it grows frame by frame.

`N.frames` holds the pictures in grey, one after the other, `N.answers` a line of JSON for each. What a program that was
killed left of the last one is cut off.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.distilling.teacher import SURE, Answer, Poses, agreed, tolerance_px
from posestream.inference.errors import ModelError
from posestream.inference.training.labels import LabelledFrame

__all__ = ["Answers", "Row", "StoredPicture", "sure_share"]

Pixels = NDArray[np.uint8]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What the teacher says of one frame."""

    number: int
    """Of the frame in the video."""
    apart: bool
    views: list[list[tuple[float, float, float]]]
    """Poses of its views; of a frame kept apart, that of the frame as it is."""
    near: list[list[tuple[float, float, float]]] = []
    """Poses of the frames before and behind."""

    @property
    def plain(self) -> Poses:
        """Pose (K, 3) of the frame as it is."""
        return np.array(self.views[0], np.float32)


class Answers:
    """See above.

    Parameters
    ----------
    stem
        Path of both files without their last part.
    name
        Of the video, for people.
    height, width
        Of its frames, pixels.

    Raises
    ------
    ModelError
        The files can't be read or written.
    """

    def __init__(self, stem: Path, name: str, height: int, width: int) -> None:
        self.name, self.height, self.width = name, height, width
        self._frames, self._lines = stem.with_suffix(".frames"), stem.with_suffix(".answers")
        self.rows: list[Row] = []
        try:
            for path in (self._frames, self._lines):
                path.touch()
            self._read()
        except OSError as error:
            raise ModelError(f"{stem.parent} cannot be read: {error.strerror or error}.") from error

    def add(self, row: Row, picture: Pixels) -> None:
        """Add a frame, uint8 (H, W).

        Raises
        ------
        ModelError
            The disk is full, or can't be written to.
        """
        try:
            with self._frames.open("ab") as file:
                file.write(np.ascontiguousarray(picture).tobytes())
            with self._lines.open("ab") as file:
                file.write(msgspec.json.encode(row) + b"\n")
        except OSError as error:
            self._read()
            why = error.strerror or error
            raise ModelError(f"{self._lines.parent} cannot be written: {why}. --resume goes on from here.") from error
        self.rows.append(row)

    def picture(self, place: int) -> "StoredPicture":
        """Give the picture of a row."""
        return StoredPicture(self._frames, place, self.height, self.width)

    def labelled(self, *, mirror: bool) -> list[LabelledFrame]:
        """Frames to learn from, with what the teacher's views agree on; none of which nothing is known."""
        tolerance = tolerance_px(self.width, self.height)
        found = []
        for place, row in enumerate(self.rows):
            if not row.apart:
                views, near = np.array(row.views, np.float32), [np.array(pose, np.float32) for pose in row.near]
                answer: Answer = agreed(views, near, tolerance, mirror=mirror)
                if np.isfinite(answer.keypoints).any():
                    name = f"{self.name}, frame {row.number}"
                    found.append(LabelledFrame(name, self.picture(place), answer.keypoints, answer.known))
        return found

    def apart(self) -> list[tuple[Row, "StoredPicture"]]:
        """Frames kept apart, and the teacher's plain pose of each."""
        return [(row, self.picture(place)) for place, row in enumerate(self.rows) if row.apart]

    def _read(self) -> None:
        """Read what is there, and cut off what is not whole."""
        lines = self._lines.read_bytes().split(b"\n")[:-1]
        one = self.height * self.width
        self.rows = []
        for line in lines[: self._frames.stat().st_size // one]:
            try:
                self.rows.append(msgspec.json.decode(line, type=Row))
            except msgspec.DecodeError:
                break
        with self._frames.open("r+b") as file:
            file.truncate(len(self.rows) * one)
        with self._lines.open("r+b") as file:
            file.truncate(sum(len(line) + 1 for line in lines[: len(self.rows)]))


class StoredPicture:
    """Reads a stored picture, as `LabelledFrame.read` has it."""

    def __init__(self, path: Path, place: int, height: int, width: int) -> None:
        self._path, self._place, self._size = path, place, (height, width)

    def __call__(self) -> Pixels:
        """Give the picture, uint8 (H, W, 3)."""
        return np.repeat(self.grey()[..., None], 3, axis=-1)

    def grey(self) -> Pixels:
        """Give the picture, uint8 (H, W)."""
        height, width = self._size
        try:
            found = np.fromfile(self._path, np.uint8, height * width, offset=self._place * height * width)
        except OSError as error:
            raise ModelError(f"{self._path} cannot be read: {error.strerror or error}.") from error
        return found.reshape(height, width)


def sure_share(poses: Sequence[Poses]) -> float:
    """Share of these poses (K, 3) with half of the body parts sure, or more."""
    return float(np.mean([np.median(pose[:, 2]) >= SURE for pose in poses]))
