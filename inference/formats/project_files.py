"""What both generations of DeepLabCut share: names of folders, YAML files, and the skeleton in `config.yaml`."""

import logging
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from posestream.inference.errors import ModelError
from posestream.stream.wire.wording import quoted

__all__ = [
    "PROJECT_FILE",
    "Training",
    "find_skeleton",
    "is_project",
    "load_yaml",
    "newest_train_folder",
    "project_files",
    "untrained",
]

PROJECT_FILE = "config.yaml"

MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
MODEL_FOLDER = re.compile(
    rf"(?P<stem>(?P<task>.+?)(?P<date>(?:{MONTHS})\d{{1,2}})?)-trainset(?P<percent>\d{{1,3}})shuffle(?P<shuffle>\d+)"
)
"""Name of the folder above `train`: {Task}{date}-trainset{percent}shuffle{n}."""

LARGEST_YAML_BYTES = 2**23
"""A project with thousands of videos stays below."""

LEVELS_BELOW_PROJECT = 4
"""Folders from a project's down to where a network lies: dlc-models/iteration-0/{name}/train."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """Where a network was trained, as far as the names of folders tell."""

    folder: str
    """The folder above `train`, or whatever stands in its place."""
    stem: str
    """{Task}{date}, as it stands in the scorer."""
    task: str = ""
    date: str = ""
    shuffle: int | None = None
    training_fraction: float | None = None
    iteration: int | None = None

    @classmethod
    def of(cls, path: str) -> "Training | None":
        """Find the training in a path, with any separators; None if no part has its form."""
        parts = re.split(r"[/\\]", path)
        for number in reversed(range(len(parts))):
            if match := MODEL_FOLDER.fullmatch(parts[number]):
                above = re.fullmatch(r"iteration-(\d+)", parts[number - 1]) if number else None
                return cls(
                    folder=parts[number],
                    stem=match["stem"],
                    task=match["task"],
                    date=match["date"] or "",
                    shuffle=int(match["shuffle"]),
                    training_fraction=int(match["percent"]) / 100,
                    iteration=int(above[1]) if above else None,
                )
        return None

    def source_fields(self) -> dict[str, Any]:
        """Fields of `ModelSource` that are known."""
        return {
            "folder": self.folder,
            "task": self.task,
            "date": self.date,
            "shuffle": self.shuffle,
            "training_fraction": self.training_fraction,
            "iteration": self.iteration,
        }


class _Project(msgspec.Struct):
    """What makes a `config.yaml` one of DeepLabCut's projects."""

    Task: Any
    bodyparts: list[str]
    skeleton: Any = None

    def pairs(self) -> list[tuple[Any, Any]]:
        """Lines of the skeleton that are pairs, whatever else stands there."""
        lines = self.skeleton if isinstance(self.skeleton, list) else []
        return [(line[0], line[1]) for line in lines if isinstance(line, list) and len(line) == 2]


def load_yaml(path: Path) -> Any:
    """Read a YAML file of plain values; tags that would make other objects are refused.

    Raises
    ------
    ModelError
        The file cannot be read, or is not YAML.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelError(f"{path} is no file.")
        if path.stat().st_size > LARGEST_YAML_BYTES:
            raise ModelError(f"{path} is too large for a configuration ({path.stat().st_size:,} bytes).")
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ModelError(f"{path} is not a YAML file: {problem}. Copy it from the project again.") from error


def project_files(folder: Path) -> list[Path]:
    """Find `config.yaml` in and above a network's folder, as far up as a project's may lie; any may be a stranger's."""
    folder = folder.absolute()
    paths = [place / PROJECT_FILE for place in [folder, *folder.parents][: LEVELS_BELOW_PROJECT + 1]]
    return [path for path in paths if path.is_file() and os.access(path, os.R_OK)]


def find_skeleton(folder: Path, bodyparts: Sequence[str]) -> list[tuple[str, str]]:
    """Lines between body parts from the `config.yaml` of the project that a network lies in, if it still lies in it.

    A file of that name is the project's if it has DeepLabCut's keys and all body parts of the network.
    """
    for path in project_files(folder):
        try:
            project = msgspec.convert(load_yaml(path), _Project)
        except ModelError as error:
            _log.warning("No skeleton: %s", error)
        except msgspec.ValidationError:
            continue  # another program's: the name is a common one
        else:
            if set(bodyparts) <= set(project.bodyparts):
                # a new project's config.yaml joins parts that the network need not have
                return [(one, two) for one, two in project.pairs() if one in bodyparts and two in bodyparts]
    return []


def is_project(folder: Path) -> bool:
    """Say whether a folder is one of DeepLabCut's projects: it has a `config.yaml` with DeepLabCut's keys."""
    try:
        msgspec.convert(load_yaml(folder / PROJECT_FILE), _Project)
    except (ModelError, msgspec.ValidationError):
        return False
    return True


def untrained(project: Path) -> ModelError:
    """Make the error of a project that has no network yet."""
    command = f"posestream train {quoted(project)} --output {quoted(f'{project.name}-network')}"
    return ModelError(f"{project} is a DeepLabCut project, but there is no trained network here. Train one: {command}")


def newest_train_folder(project: Path) -> Path:
    """Train folder of a project's highest iteration and, within it, highest shuffle that has a snapshot.

    Where an iteration has networks of both generations of DeepLabCut, `engine` in `config.yaml` decides; where that is
    absent, as in projects from before DeepLabCut 3, it is TensorFlow.

    Raises
    ------
    ModelError
        The project has no snapshot yet.
    """
    settings = load_yaml(project / PROJECT_FILE) if (project / PROJECT_FILE).is_file() else {}
    engine = settings.get("engine", "tensorflow") if isinstance(settings, dict) else "tensorflow"
    ranked = []
    for root, kind, snapshots in (
        ("dlc-models", "tensorflow", "snapshot-*.index"),
        ("dlc-models-pytorch", "pytorch", "snapshot-*.pt"),
    ):
        for train in (project / root).glob("iteration-*/*/train"):
            training = Training.of(f"{train.parent.parent.name}/{train.parent.name}")
            if training is not None and training.iteration is not None and any(train.glob(snapshots)):
                ranked.append((training.iteration, kind == engine, training.shuffle or 0, train))
    if not ranked:
        raise untrained(project)
    return max(ranked)[-1]
