"""Replaces files whole: a kill or a power failure on the way leaves the old one or the new one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from posestream.stream.wire.durable import sync_folder

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; when the block ends, the file there takes the place of `path`.

    Raises
    ------
    OSError
        Where it can't be brought to the disk, or take the place.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)  # a leftover; or a link, which would be followed
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
