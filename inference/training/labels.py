"""Read the labelled frames of a DeepLabCut project: `labeled-data/VIDEO/CollectedData_SCORER.csv` (or `.h5`).

Above the numbers stand three lines, `scorer`, `bodyparts` and `coords`; a project with several animals has a fourth,
`individuals`. Before the numbers stands the picture's path, in one column or, since DeepLabCut 2.3, in three. (0, 0) is
the middle of the upper left pixel.

The `.csv` is read where both are there. Nothing in an `.h5` is unpickled (`hdf_tables`).
"""

import csv
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.formats.hdf_tables import read_hdf_table
from posestream.inference.formats.project_files import PROJECT_FILE, load_yaml

__all__ = ["LabelledFrame", "Labels", "labels_for", "read_labels", "read_picture", "split_frames"]

HEADER = ("scorer", "bodyparts", "coords")
PICTURES_KEPT = 128
"""Decoded pictures that stay in memory; those of a small project all do."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A picture and where its K body parts are."""

    name: str
    """Of the picture, for people."""
    read: Callable[[], Pixels]
    """Gives the picture, RGB uint8 (H, W, 3), which must not be written to."""
    keypoints: NDArray[np.float64]
    """(K, 2): x and y in pixels; NaN where the body part is not to be seen."""
    known: NDArray[np.bool_]
    """(K,): False where nobody looked for this body part, so that its absence says nothing."""


@dataclass(frozen=True, eq=False)
class Labels:
    """All labelled frames of a project, in the order of their names."""

    bodyparts: tuple[str, ...]
    frames: list[LabelledFrame]


def read_labels(project: Path) -> Labels:
    """Read all labels of a project.

    Parameters
    ----------
    project
        The folder with `config.yaml` and `labeled-data`.

    Raises
    ------
    ModelError
        There are no labels, a file is damaged (said with file and line), a picture is absent, or the project has
        several animals.
    """
    settings = load_yaml(project / PROJECT_FILE)
    if not isinstance(settings, dict):
        raise ModelError(f"{project / PROJECT_FILE} is not the configuration of a DeepLabCut project.")
    if settings.get("multianimalproject"):
        raise ModelError(f"{project} is a project with several animals; only those with one can be trained on.")
    names = settings.get("bodyparts")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{project / PROJECT_FILE} has no list of body parts (bodyparts).")
    bodyparts = tuple(names)
    frames: list[LabelledFrame] = []
    for folder in sorted(path for path in (project / "labeled-data").glob("*") if path.is_dir()):
        tables = sorted(folder.glob("CollectedData_*.csv")) or sorted(folder.glob("CollectedData_*.h5"))
        if len(tables) > 1:
            raise ModelError(f"{folder} holds the labels of several scorers ({len(tables)} files). Keep one of them.")
        for table in tables:
            rows = _read_csv(table) if table.suffix == ".csv" else _read_h5(table)
            frames += [_frame(folder, where, picture, points, bodyparts) for where, picture, points in rows]
    if not frames:
        raise ModelError(f"{project} has no labels (labeled-data/VIDEO/CollectedData_SCORER.csv or .h5).")
    return Labels(bodyparts, frames)


def labels_for(bodyparts: Sequence[str], labels: Labels, network: str) -> list[LabelledFrame]:
    """Give labels in the order of a network's body parts; those that the labels lack are unknown.

    Parameters
    ----------
    bodyparts
        The network's.
    labels
        The labels.
    network
        Its name, for people.

    Raises
    ------
    ModelError
        The labels have body parts that the network has not.
    """
    strangers = [part for part in labels.bodyparts if part not in bodyparts]
    if strangers:
        raise ModelError(
            f"The labels have {', '.join(strangers)}, but {network} finds {', '.join(bodyparts)}. Name the project "
            "that it was trained on, or leave the labels out."
        )
    places = [bodyparts.index(part) for part in labels.bodyparts]
    frames = []
    for frame in labels.frames:
        keypoints, known = np.full((len(bodyparts), 2), np.nan), np.zeros(len(bodyparts), np.bool_)
        keypoints[places], known[places] = frame.keypoints, frame.known
        frames.append(LabelledFrame(frame.name, frame.read, keypoints, known))
    return frames


def split_frames(
    count: int, *, holdout: float = 0.1, folds: int | None = None, fold: int = 1, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Divide frames into those to train on and those held back.

    Parameters
    ----------
    count
        Number of frames.
    holdout
        Share that is held back, 0 to 1; at least one frame where it is not 0. Without meaning where `folds` is given.
    folds, fold
        For cross-validation: of `folds` parts, the one with this number (from 1) is held back.
    seed
        Of the shuffling.

    Raises
    ------
    ModelError
        Nothing would be left to train on, or there is no such fold.
    """
    order = np.random.default_rng([seed, 1]).permutation(count)
    if folds is not None:
        if not 1 <= fold <= folds or folds > count or folds < 2:
            raise ModelError(f"There is no fold {fold} of {folds} for {count} frames.")
        back = np.array_split(order, folds)[fold - 1]
    else:
        back = order[: math.ceil(holdout * count)]
    held = sorted(int(number) for number in back)
    kept = sorted(set(range(count)) - set(held))
    if not kept:
        raise ModelError(f"Of {count} labelled frames none is left to train on. Label more, or hold fewer back.")
    return kept, held


@lru_cache(maxsize=PICTURES_KEPT)
def read_picture(path: Path) -> Pixels:
    """Read a picture as RGB, uint8 (H, W, 3), read-only.

    Raises
    ------
    ModelError
        It is absent or no picture.
    """
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)  # cv2.imread cannot open every path on Windows
        picture: Any = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    if picture is None:
        raise ModelError(f"{path} is not a picture. Copy it from the project again.")
    rgb = np.ascontiguousarray(picture[..., ::-1])
    rgb.flags.writeable = False
    return rgb


Row = tuple[str, str, dict[str, tuple[float, float]]]
"""Where it stands, name of the picture, and x and y of each body part."""


def _frame(
    folder: Path, where: str, picture: str, points: dict[str, tuple[float, float]], bodyparts: Sequence[str]
) -> LabelledFrame:
    strangers = sorted(set(points) - set(bodyparts))
    if strangers:
        raise ModelError(f"{where}: {', '.join(strangers)} is not among the body parts of {PROJECT_FILE}.")
    name = re.split(r"[/\\]", picture)[-1]  # the project may have moved, and been labelled on another system
    path = folder / name
    if not path.is_file():
        raise ModelError(f"{where}: the picture {path} is not there.")
    missing = (math.nan, math.nan)
    keypoints = np.array([points.get(part, missing) for part in bodyparts], dtype=np.float64)
    keypoints[~np.isfinite(keypoints).all(axis=1)] = math.nan
    return LabelledFrame(
        f"{folder.name}/{name}", partial(read_picture, path), keypoints, np.ones(len(bodyparts), np.bool_)
    )


def _read_csv(path: Path) -> list[Row]:
    if not path.is_file():
        raise ModelError(f"{path} cannot be read: it is no file.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    found = [line[0] if line else "" for line in lines[:4]]
    if "individuals" in found:
        raise ModelError(f"{path} has labels of several animals; only those of one can be trained on.")
    for number, word in enumerate(HEADER):
        if len(found) <= number or found[number] != word:
            raise ModelError(f"{path}, line {number + 1}: it should begin with {word!r}. Is this DeepLabCut's file?")
    coords = lines[2]
    first = next((column for column, word in enumerate(coords) if word == "x"), len(coords))
    columns = lines[1][first:]
    if not columns or coords[first:] != ["x", "y"] * (len(columns) // 2) or columns[0::2] != columns[1::2]:
        raise ModelError(f"{path}, line 3: after the path, x and y of each body part should stand.")
    parts = columns[0::2]
    rows: list[Row] = []
    for number, line in enumerate(lines[3:], start=4):
        where = f"{path}, line {number}"
        if not any(line):
            continue
        if len(line) != len(coords):
            raise ModelError(f"{where}: it has {len(line)} columns, but the lines above have {len(coords)}.")
        try:
            values = [float(word) if word.strip() else math.nan for word in line[first:]]
        except ValueError as error:
            raise ModelError(f"{where}: {error}. Coordinates are numbers, or empty.") from error
        rows.append(
            (where, line[first - 1], dict(zip(parts, zip(values[0::2], values[1::2], strict=True), strict=True)))
        )
    return rows


def _read_h5(path: Path) -> list[Row]:
    table = read_hdf_table(path)
    if "individuals" in table.levels:
        raise ModelError(f"{path} has labels of several animals; only those of one can be trained on.")
    if table.levels != HEADER or not {column[-1] for column in table.columns} <= {"x", "y"}:
        raise ModelError(
            f"{path} is not DeepLabCut's table of labels: its columns are {list(table.levels)}, not {list(HEADER)}."
        )
    rows: list[Row] = []
    for number, (index, values) in enumerate(zip(table.index, table.values.tolist(), strict=True), start=1):
        points: dict[str, list[float]] = {}
        for (_, part, coord), value in zip(table.columns, values, strict=True):
            points.setdefault(part, [math.nan, math.nan])["xy".index(coord)] = value
        rows.append((f"{path}, row {number}", str(index[-1]), {part: (x, y) for part, (x, y) in points.items()}))
    return rows
