"""What both generations of DeepLabCut share: names of folders, YAML files, and the skeleton in `config.yaml`."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from posestream.inference.errors import ModelError

__all__ = ["PROJECT_FILE", "Training", "find_skeleton", "load_yaml", "newest_train_folder", "project_file"]

PROJECT_FILE = "config.yaml"

MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
MODEL_FOLDER = re.compile(
    rf"(?P<stem>(?P<task>.+?)(?P<date>(?:{MONTHS})\d{{1,2}})?)-trainset(?P<percent>\d{{1,3}})shuffle(?P<shuffle>\d+)"
)
"""Name of the folder above `train`: {Task}{date}-trainset{percent}shuffle{n}."""

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


def load_yaml(path: Path) -> Any:
    """Read a YAML file of plain values; tags that would make other objects are refused.

    Raises
    ------
    ModelError
        The file cannot be read, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise ModelError(f"{path} is not a YAML file: {problem}. Copy it from the project again.") from error


def project_file(folder: Path) -> Path | None:
    """`config.yaml` of the project that a folder lies in, if it still lies in it."""
    for parent in list(folder.absolute().parents)[:4]:
        if (parent / PROJECT_FILE).is_file():
            return parent / PROJECT_FILE
    return None


def find_skeleton(folder: Path, bodyparts: Sequence[str]) -> list[tuple[str, str]]:
    """Lines between body parts from the project's `config.yaml`, where there is one."""
    path = project_file(folder)
    if path is None:
        return []
    try:
        project = load_yaml(path)
    except ModelError as error:
        _log.warning("No skeleton: %s", error)
        return []
    pairs = project.get("skeleton") if isinstance(project, dict) else None
    if not isinstance(pairs, list):
        return []
    # a new project's config.yaml joins parts that the network need not have
    return [
        (pair[0], pair[1])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and all(part in bodyparts for part in pair)
    ]


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
        raise ModelError(f"{project} is a DeepLabCut project, but none of its networks has a snapshot yet. Train one.")
    return max(ranked)[-1]
