"""Load a model from wherever it lies: a bundle, or straight away what DeepLabCut leaves behind."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from posestream.inference.errors import ModelError
from posestream.inference.formats.archive import unpacked
from posestream.inference.formats.bundle import MODEL_FILE, ModelBundle
from posestream.inference.formats.bundled import bundled_networks, find_model
from posestream.inference.formats.cache import cached
from posestream.inference.formats.checkpoint import find_snapshot, read_train_folder
from posestream.inference.formats.frozen_graph import find_graph, read_export_folder
from posestream.inference.formats.pose_config import CONFIG_FILE
from posestream.inference.formats.project_files import (
    PROJECT_FILE,
    is_project,
    newest_train_folder,
    project_files,
    untrained,
)
from posestream.inference.formats.torch_config import TORCH_CONFIG_FILE
from posestream.inference.formats.torch_snapshot import find_torch_snapshot, read_torch_export, read_torch_snapshot
from posestream.stream.wire.wording import near

__all__ = ["check_source", "load_model"]

SUPPORTED = (
    f"A model is a bundle (a folder with {MODEL_FILE}), or what DeepLabCut leaves: a project (with {PROJECT_FILE}), a "
    f"train folder (with {CONFIG_FILE} and snapshot-N.index, or {TORCH_CONFIG_FILE} and snapshot-N.pt) or one of its "
    f"snapshots, an exported folder (with {CONFIG_FILE} and snapshot-N.pb) or its .tar.gz, or an exported .pt. With "
    f"posestream comes: {', '.join(bundled_networks())}"
)

ARCHIVES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class _Source:
    """Something that a bundle can be made of."""

    files: tuple[Path, ...]
    """All that its content comes from."""
    read: Callable[[], ModelBundle]


def check_source(source: str | Path) -> None:
    """See that something lies there that `load_model` would take for a model, without reading it.

    Raises
    ------
    ModelError
        As `load_model`, but for what is damaged.
    """
    path = find_model(source)
    if not (path / MODEL_FILE).exists():
        _find_source(path)


def _find_source(path: Path) -> _Source:
    return _locate_in(path) if path.is_dir() else _locate(path)


def load_model(source: str | Path) -> ModelBundle:
    """Load a model.

    What is no bundle is converted, and the bundle kept in the user's cache folder (see `cache.py`).

    Parameters
    ----------
    source
        A bundle's folder; a DeepLabCut project, of which the newest network is taken; a train folder of DeepLabCut 2
        or 3, or the folder above it, of which the newest (or best) snapshot is taken; one snapshot,
        `.../train/snapshot-N` with or without `.index` or `.pt`; an exported folder, its `.pb` or its `.tar.gz`; or a
        `.pt` that DeepLabCut 3 exported; or the name of a network that comes with the package.

    Returns
    -------
    ModelBundle
        The model, weights in float32.

    Raises
    ------
    ModelError
        Nothing is there, or it is damaged, or it is not one of these.
    """
    path = find_model(source)
    if (path / MODEL_FILE).exists():
        return ModelBundle.load(path)
    found = _find_source(path)
    return cached(found.files, found.read)


def _locate(path: Path) -> _Source:
    """Source that a file's name stands for."""
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if prefix.with_name(f"{prefix.name}.index").is_file():
        return _train_folder(prefix.parent, prefix.name)
    if not path.exists() and path.with_name(f"{path.name}.pt").is_file():
        path = path.with_name(f"{path.name}.pt")
    if not path.exists():
        meant = _meant(path)
        raise ModelError(f"No such model: {path}{meant}{'' if meant else f'. {SUPPORTED}.'}")
    if path.suffix == ".pt":
        return _torch_file(path)
    if path.suffix == ".pb":
        return _export_folder(path.parent, path.name)
    if path.name.endswith(ARCHIVES):
        return _Source(_with_project(path.parent, path), partial(_read_archive, path))
    raise ModelError(f"{path} is not a model that this version can run: it is {_kind_of_file(path)}. {SUPPORTED}.")


def _locate_in(folder: Path) -> _Source:
    """Source that a folder stands for."""
    if any((folder / root).is_dir() for root in ("dlc-models", "dlc-models-pytorch")):
        folder = newest_train_folder(folder)
    for place in (folder, folder / "train"):
        if (place / TORCH_CONFIG_FILE).is_file() and any(place.glob("snapshot-*.pt")):
            return _torch_file(find_torch_snapshot(place))
        if (place / CONFIG_FILE).is_file() and any(place.glob("*.pb")):
            return _export_folder(place, None)
        if (place / CONFIG_FILE).is_file() and any(place.glob("snapshot-*.index")):
            return _train_folder(place, None)
    exports = sorted(folder.glob("*.pt"))
    if len(exports) == 1:
        return _torch_file(exports[0])
    if is_project(folder):
        raise untrained(folder)
    raise ModelError(f"{folder} is not a model that this version can run: {_what_is_in(folder)}. {SUPPORTED}.")


def _with_project(folder: Path, *files: Path) -> tuple[Path, ...]:
    """Add what may be the project's file to those of a network: the skeleton comes from it."""
    return (*files, *project_files(folder))


def _train_folder(folder: Path, snapshot: str | None) -> _Source:
    prefix = find_snapshot(folder, snapshot)
    files = [folder / CONFIG_FILE, *sorted(folder.glob(f"{prefix.name}.index")), *folder.glob(f"{prefix.name}.data-*")]
    return _Source(_with_project(folder, *files), partial(read_train_folder, folder, prefix.name))


def _export_folder(folder: Path, graph: str | None) -> _Source:
    path = find_graph(folder) if graph is None else folder / graph
    files = _with_project(folder, folder / CONFIG_FILE, path)
    return _Source(files, partial(read_export_folder, folder, path.name))


def _torch_file(path: Path) -> _Source:
    config = path.parent / TORCH_CONFIG_FILE
    if config.is_file():
        return _Source(_with_project(path.parent, config, path), partial(read_torch_snapshot, path))
    return _Source(_with_project(path.parent, path), partial(read_torch_export, path))


def _read_archive(path: Path) -> ModelBundle:
    with unpacked(path) as folder:
        return read_export_folder(folder, home=path.parent)


def _meant(path: Path) -> str:
    """Give the name that was probably meant: of a network that comes with posestream, or of what lies there."""
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = [other.name for other in path.parent.iterdir()]
    return near(path.name, [*bundled_networks(), *beside])


def _kind_of_file(path: Path) -> str:
    kinds = {
        ".pth": "a PyTorch file",
        ".pbtxt": "a TensorFlow graph as text (.pbtxt)",
        ".onnx": "an ONNX network",
        ".gz": "an archive; unpack it first",
        ".zip": "an archive; unpack it first",
    }
    return kinds.get(path.suffix, "a file of another kind")


def _what_is_in(folder: Path) -> str:
    """Name what a folder holds that is no model for us, as the end of a sentence."""
    for place in (folder, folder / "train"):
        if (place / TORCH_CONFIG_FILE).exists():
            return f"it has {TORCH_CONFIG_FILE} but no snapshot-N.pt"
        if any(place.glob("*.pt")):
            return "it holds several PyTorch files (.pt), so name one of them"
        if (place / CONFIG_FILE).exists():
            return f"it has {CONFIG_FILE} but no snapshot-N.index and no snapshot-N.pb"
        if any(place.glob("snapshot-*.index")) or any(place.glob("*.pb")):
            return f"it has a snapshot but no {CONFIG_FILE}"
    return f"it has neither {MODEL_FILE} nor {CONFIG_FILE}"
