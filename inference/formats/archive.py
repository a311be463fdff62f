"""Unpack the `.tar.gz` of an exported network, as DeepLabCut and its model zoo ship them, with nothing else in it."""

import gzip
import io
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from posestream.inference.errors import ModelError
from posestream.inference.formats.pose_config import CONFIG_FILE
from posestream.inference.formats.project_files import LARGEST_YAML_BYTES

__all__ = ["unpacked"]

LARGEST_BYTES = 4 * 2**30
MOST_MEMBERS = 1000
LONGEST_HEADER_BYTES = 2**20
"""A header may be long, as names may, and is held in memory."""


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Give a temporary folder with the archive's `pose_cfg.yaml` and frozen graph; it is removed afterwards.

    Raises
    ------
    ModelError
        The archive is damaged, too large, lacks one of the two, or holds links or paths that lead out of it.
    """
    with tempfile.TemporaryDirectory(prefix="posestream-") as temporary:
        try:
            with _opened(archive) as file, tarfile.open(fileobj=cast("IO[bytes]", _Bounded(file)), mode="r:") as tar:
                inside = _extract(archive, tar, Path(temporary))
        except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, OverflowError) as error:
            raise ModelError(f"{archive} cannot be unpacked: {error}. Download or copy it again.") from error
        yield inside


def _opened(archive: Path) -> IO[bytes]:
    """Open the archive, packed by gzip or not."""
    with archive.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(archive, "rb")) if packed else archive.open("rb")


class _Bounded:
    """A file of which no large piece can be read at once, as `tarfile` would read a header that says it is large."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        if not 0 <= size <= LONGEST_HEADER_BYTES:
            raise ValueError(f"it asks for a header of {size:,} bytes")
        return self._file.read(size)


def _extract(archive: Path, tar: tarfile.TarFile, folder: Path) -> Path:
    """Extract what is needed and return the folder of the network."""
    total = 0
    configs: list[Path] = []
    for number, member in enumerate(tar, start=1):
        total += member.size
        if number > MOST_MEMBERS or total > LARGEST_BYTES:
            raise ModelError(
                f"{archive} unpacks to more than {MOST_MEMBERS} files or {LARGEST_BYTES:,} bytes: it is no network."
            )
        if not (member.isreg() or member.isdir()):
            raise ModelError(f"{archive} holds {member.name!r}, which is a link or a device. It is not unpacked.")
        name = Path(member.name).name
        if name == CONFIG_FILE and member.size > LARGEST_YAML_BYTES:
            raise ModelError(f"{archive} holds a {CONFIG_FILE} of {member.size:,} bytes: it is no network.")
        if member.isreg() and not name.startswith(".") and (name == CONFIG_FILE or name.endswith(".pb")):
            target = _inside(archive, member, folder)
            target.parent.mkdir(exist_ok=True)
            with tar.extractfile(member) or io.BytesIO() as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
            if name == CONFIG_FILE:
                configs.append(target)
    if len(configs) != 1:
        raise ModelError(
            f"{archive} holds {len(configs)} files {CONFIG_FILE}, not one: it is no network that DeepLabCut exported."
        )
    return configs[0].parent


def _inside(archive: Path, member: tarfile.TarInfo, folder: Path) -> Path:
    """Where a member goes: its own folder's name and its own, and nothing that leads elsewhere on any system."""
    # Not tarfile's own filter: Python has it from 3.11.4 on only.
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or any(mark in member.name for mark in ("\\", ":")):
        raise ModelError(f"{archive} holds {member.name!r}, which leads out of it. It is not unpacked.")
    return folder / (path.parent.name or "network") / path.name
