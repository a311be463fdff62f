"""Bundles that were made of other forms of a network, kept in the user's cache folder.

A bundle's place follows from the content of the files it was made of, so what changes is converted again. Any number
of processes may do that at once: a bundle appears complete or not at all, and who comes second takes the first one's.
What cannot be kept is converted each time, and what is damaged is made anew.
"""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import MODEL_FILE, ModelBundle

__all__ = ["CACHE_VARIABLE", "cache_folder", "cached", "remove_oldest"]

CACHE_VARIABLE = "POSESTREAM_CACHE"
"""Environment variable that names another folder."""

CONVERSION = 2
"""Raised whenever the importers make something else of the same files."""

MOST_BUNDLES = 20
"""The least recently used go when there are more."""

_log = logging.getLogger(__name__)


def cache_folder(kind: str = "models") -> Path:
    """Folder of what is kept of one kind (`models` are bundles), which need not exist."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser() / kind
    from platformdirs import user_cache_path

    return user_cache_path("posestream", appauthor=False) / kind


def cached(files: Iterable[Path], convert: Callable[[], ModelBundle]) -> ModelBundle:
    """Return the bundle that `convert` made, or would make, of these files.

    Parameters
    ----------
    files
        All whose content or place goes into the bundle.
    convert
        Makes the bundle; called if none is kept.

    Raises
    ------
    ModelError
        As `convert` does, or a file cannot be read.
    """
    folder = cache_folder() / _key(files)
    if (folder / MODEL_FILE).exists():
        try:
            bundle = ModelBundle.load(folder)
        except ModelError as error:
            _log.warning("A kept model is damaged and is made anew: %s", error)
            shutil.rmtree(folder, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.utime(folder / MODEL_FILE)
            return bundle
    bundle = convert()
    try:
        bundle.save(folder)
    except ModelError as error:
        if not (folder / MODEL_FILE).exists():  # else another process was quicker
            _log.warning("The converted model is not kept: %s", error)
    remove_oldest(folder.parent, MODEL_FILE, MOST_BUNDLES)
    return replace(bundle, folder=folder if (folder / MODEL_FILE).exists() else None)


def _key(files: Iterable[Path]) -> str:
    """Hash of the content and the place of files: the names of folders go into a model's description."""
    digest = hashlib.sha256(f"posestream conversion {CONVERSION}".encode())
    for path in files:
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
        digest.update(os.fsencode(path.absolute()) + b"\0" + content)
    return digest.hexdigest()[:32]


def remove_oldest(folder: Path, file: str, most: int) -> None:
    """Keep the folders within `folder` whose `file` was touched last."""
    with contextlib.suppress(OSError):
        used = sorted((path.stat().st_mtime_ns, path.parent) for path in folder.glob(f"*/{file}"))
        for _, oldest in used[:-most]:
            shutil.rmtree(oldest, ignore_errors=True)
