"""Draw the frames in which a student is farthest from its teacher, with both poses, for a person to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.distilling.teacher import SURE, Poses
from posestream.inference.errors import ModelError

__all__ = ["Drawn", "draw_worst"]

TILE_PX = (480, 360)
COLUMNS = 2
TEACHER_BGR, STUDENT_BGR, TEXT_BGR = (80, 220, 80), (60, 120, 255), (255, 255, 255)
RADIUS_PX = 5
TITLE_PX = 20
"""Height of the strip with the title."""
QUALITY = 85


@dataclass(frozen=True, eq=False)
class Drawn:
    """A frame with both poses."""

    title: str
    picture: NDArray[np.uint8]
    """Grey (H, W)."""
    teacher: Poses
    student: Poses
    """(K, 3)."""


def draw_worst(path: Path, frames: Sequence[Drawn]) -> None:
    """Write the picture: rings are the teacher's, crosses the student's, with a line between the two.

    Raises
    ------
    ModelError
        It cannot be written.
    """
    import cv2

    tiles = [_tile(frame) for frame in frames]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[first : first + COLUMNS]) for first in range(0, len(tiles), COLUMNS)]
    _, data = cv2.imencode(path.suffix, np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror or error}.") from error


def _tile(frame: Drawn) -> NDArray[np.uint8]:
    import cv2

    height, width = frame.picture.shape
    factor = min(TILE_PX[0] / width, TILE_PX[1] / height)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    tile: Any = np.zeros((TILE_PX[1], TILE_PX[0], 3), np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(frame.picture, size, interpolation=cv2.INTER_AREA)[..., None]
    for taught, learnt in zip(frame.teacher, frame.student, strict=True):
        if taught[2] < SURE:
            continue
        poses = (taught, learnt)
        one, other = (np.round((pose[:2] + 0.5) * factor - 0.5).astype(int).tolist() for pose in poses)
        cv2.line(tile, one, other, TEXT_BGR, 1, cv2.LINE_AA)
        cv2.circle(tile, one, RADIUS_PX, TEACHER_BGR, 1, cv2.LINE_AA)
        cv2.drawMarker(tile, other, STUDENT_BGR, cv2.MARKER_TILTED_CROSS, 2 * RADIUS_PX, 1, cv2.LINE_AA)
    cv2.rectangle(tile, (0, TILE_PX[1] - TITLE_PX), TILE_PX, (0, 0, 0), cv2.FILLED)
    place = (6, TILE_PX[1] - 6)
    cv2.putText(tile, frame.title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, TEXT_BGR, 1, cv2.LINE_AA)
    return np.asarray(tile, np.uint8)
