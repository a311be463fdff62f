"""Brings the names of files to the disk. The one place where systems differ in this."""

import os
import sys
from pathlib import Path

__all__ = ["sync_folder"]


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
