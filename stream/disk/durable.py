"""Brings files and folders to the disk under their names, whole. The one place where systems differ in this."""

import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["making_folder", "replacing", "sync_folder"]


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files to the disk, so that new and replaced ones outlive a power failure.

    Windows opens no folders; its file system writes their names down before it lets go of the change.

    Raises
    ------
    OSError
        Where the disk refuses.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a path beside `path` to write to; when the block ends, the file there takes the place of `path`.

    Parameters
    ----------
    path
        The file.
    shared
        Whether other processes may write it at the same time: the path beside it is then nobody else's, and what a kill
        leaves of it is not found again.

    Raises
    ------
    OSError
        Where it can't be brought to the disk, or take the place.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp" if shared else f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # a leftover; or a link, which would be followed
    try:
        yield temporary
        _sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def making_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder beside `folder` to write to; when the block ends, it takes that name with all that is in it.

    Any number of processes may do so at once.

    Parameters
    ----------
    folder
        The folder; those above it are made.
    replace
        Whether to take the place of one that is there.

    Raises
    ------
    OSError
        Where it can't be brought to the disk, or there is one that is not to be replaced.
    """
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.partial")
    before = partial.with_suffix(".old")
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in partial.rglob("*"):
            if path.is_file():
                _sync_file(path)
        sync_folder(partial)
        if replace and folder.exists():
            folder.rename(before)
        try:
            partial.rename(folder)
        except OSError:
            if before.exists():
                before.rename(folder)
            raise
        sync_folder(folder.parent)
    finally:
        for left in (partial, before):
            shutil.rmtree(left, ignore_errors=True)


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:  # Windows brings to the disk what may be written to
        os.fsync(file.fileno())
