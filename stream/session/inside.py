"""Keeps what opens a session inside of it: no link in its folder leads out, and nothing in it is other than a file.

A session may come from another lab. A camera's folder that is a link to somebody's home, a table that is a link to
another file, or a pipe that nobody writes to are not opened, read or written.
"""

import os
import stat
from pathlib import Path

from posestream.stream.wire.errors import InputError

__all__ = ["OutsideError", "check_inside"]


class OutsideError(InputError):
    """Something in a folder that leads out of it, or is no file; the text is for people."""


def check_inside(folder: Path) -> None:
    """See that all that is in a folder, however deep, lies in it once links are followed.

    Raises
    ------
    OutsideError
        Something does not, or is neither file nor folder, or can't be looked at.
    """
    try:
        root = folder.resolve(strict=True)
        _check(root, root, {root})
    except (OSError, RuntimeError) as error:  # before Python 3.13, links in a circle are a RuntimeError
        raise OutsideError(f"it can't be looked through: {error}") from error


def _check(folder: Path, root: Path, seen: set[Path]) -> None:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        place = Path(entry.path)
        # resolve() also follows what Windows calls a junction, which is no link to Python 3.11
        target, name = place.resolve(), place.relative_to(root).as_posix()
        if not target.is_relative_to(root):
            raise OutsideError(f"{name!r} is a link to {str(target)!r}, outside of it; remove the link")
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            if place.is_symlink():
                raise OutsideError(f"{name!r} is a link to nothing; remove it") from None
            continue  # gone since: a run that goes on replaces its files
        if stat.S_ISDIR(mode):
            if target not in seen:
                seen.add(target)
                _check(target, root, seen)
        elif not stat.S_ISREG(mode):
            raise OutsideError(f"{name!r} is neither file nor folder; remove it")
