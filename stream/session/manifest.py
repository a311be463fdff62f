"""`manifest.json`: what every file of a closed session is, by its digest, so that a change of any of them is seen.

Closing a session writes it last. Who changes a closed session says so in it first (`writing`), and then renews the
entries of the files that it wrote, and of those alone: a file that somebody else has changed keeps its old digest, and
one that was changed before it was written anew is named for good (`altered`). So no change is laundered. It is no seal:
who can write to the session can also write a new manifest. Therefore `verify` holds the tables against each other, too.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import msgspec

from posestream.stream.disk.durable import replacing
from posestream.stream.disk.reserve import NAME as RESERVE
from posestream.stream.disk.writer_locks import is_lock
from posestream.stream.session.record import MANIFEST_FORMAT
from posestream.stream.wire.errors import UserError
from posestream.stream.wire.versions import package_version

__all__ = [
    "NAME",
    "Differences",
    "Doubt",
    "Entry",
    "Manifest",
    "ManifestError",
    "Renewal",
    "Show",
    "compare",
    "cut_off",
    "digests",
    "read_manifest",
    "renew_entries",
    "write_manifest",
]

NAME = "manifest.json"
CHUNK_BYTES = 2**20
LOCK_OF_ANALYSIS = ".partial.lock"
BACKFILL_WRITES = ("session.json", "summary.json", "*/frames.csv", "*/backfilled.csv", "*/video*", "*.tmp")
"""What a backfill that was cut off may have changed; of what begins with video, not the video itself."""
Show = Callable[[int, int], None]
"""Called with the bytes that have been read, and those that are to be; what it raises ends the reading."""


class ManifestError(UserError, ValueError):
    """A manifest that can't be read; the text is for people."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file is."""

    bytes: int
    """Its size."""
    sha256: str
    """Digest of its content, hexadecimal."""


class Doubt(msgspec.Struct, frozen=True):
    """Files of which something is not certain, or is wrong."""

    by: str
    """Which command found them so: `recover`, `backfill`, `analyze`."""
    when: str
    """When, ISO 8601."""
    files: tuple[str, ...]
    """By path, as in the manifest."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content."""

    format: int
    """Version of this file."""
    session: str
    """The session's id."""
    posestream: str
    """Version that wrote it."""
    by: str
    """`run`, or `recover`."""
    written: str
    """When it was written last, ISO 8601."""
    files: dict[str, Entry]
    """By path from the session's folder, with `/`."""
    altered: tuple[Doubt, ...] = ()
    """Files that were not as the manifest had them when they were written anew."""
    unguarded: tuple[Doubt, ...] = ()
    """Files that had no digest, or whose writer was cut off, until the command had them: nothing proves them before."""
    writing: str = ""
    """The command that changes the session now, or was cut off while it did."""


@dataclass(frozen=True)
class Differences:
    """How a session differs from its manifest; paths as there."""

    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    """What is neither a file nor a folder: links, devices."""

    @property
    def all(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.changed, *self.missing, *self.added, *self.odd)

    def without(self, names: Collection[str]) -> "Differences":
        """Leave files out."""
        kept = (
            tuple(name for name in kind if name not in names)
            for kind in (self.changed, self.missing, self.added, self.odd)
        )
        return Differences(*kept)

    def sentences(self) -> list[str]:
        """Give them for people."""
        kinds = {
            "differs from the manifest: it was changed": self.changed,
            "is in the manifest and is gone": self.missing,
            "is not in the manifest: it was added": self.added,
            "is no ordinary file": self.odd,
        }
        return [f"{name} {text}" for text, names in kinds.items() for name in names]


def read_manifest(folder: Path) -> Manifest | None:
    """Read a session's manifest; None where it has none.

    Raises
    ------
    ManifestError
        Where it can't be read.
    """
    try:
        manifest = msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ManifestError(f"{NAME} can't be read: {error}") from error
    if manifest.format != MANIFEST_FORMAT:
        raise ManifestError(f"{NAME} has format {manifest.format}; this posestream reads format {MANIFEST_FORMAT}")
    return manifest


def write_manifest(folder: Path, session: str, by: str, show: Show | None = None) -> None:
    """Write the manifest of a session that was just closed, of all files that are there.

    Parameters
    ----------
    folder
        The session's folder.
    session
        Its id.
    by
        `run`; or `recover`, and then it says that nothing proves the files as they were before.
    show
        Called as files are read.

    Raises
    ------
    OSError
        Where a file can't be read, or the manifest can't be written.
    """
    files = digests(folder, _files(folder)[0], show)
    manifest = Manifest(
        format=MANIFEST_FORMAT,
        session=session,
        posestream=package_version("posestream") or "",
        by=by,
        written=_now(),
        files=files,
        unguarded=(Doubt(by, _now(), tuple(files)),) if by != "run" else (),
    )
    _save(folder, manifest)


def compare(
    folder: Path, manifest: Manifest, show: Show | None = None, *, only: Collection[str] | None = None
) -> Differences:
    """Read the files of a session and hold them against the manifest.

    Parameters
    ----------
    folder
        The session's folder.
    manifest
        Its manifest.
    show
        Called as files are read.
    only
        The files to read; all by default.

    Raises
    ------
    OSError
        Where a file can't be read.
    """
    names, odd = _files(folder)
    listed = set(manifest.files)
    if only is not None:
        names, odd, listed = [n for n in names if n in only], [n for n in odd if n in only], listed & set(only)
    known = [name for name in names if name in manifest.files]
    sizes = {name: (folder / name).stat().st_size for name in known}
    same_size = [name for name in known if sizes[name] == manifest.files[name].bytes]
    found = digests(folder, same_size, show)
    return Differences(
        changed=tuple(name for name in known if found.get(name) != manifest.files[name]),
        missing=tuple(sorted(listed - set(names))),
        added=tuple(name for name in names if name not in manifest.files),
        odd=tuple(odd),
    )


def cut_off(manifest: Manifest | None, found: Differences) -> tuple[str, ...]:
    """Give the files that differ, and that a command which was cut off may have left so."""
    if manifest is None or not manifest.writing:
        return ()
    if manifest.writing != "backfill":
        return (*found.changed, *found.missing, *found.added)
    return tuple(name for name in (*found.changed, *found.added) if _backfill_writes(name))


def renew_entries(folder: Path, written: Iterable[Path], by: str, odd: Collection[str] = ()) -> None:
    """Renew the entries of files that were just written, or removed; nothing where the session has no manifest.

    Parameters
    ----------
    folder
        The session's folder.
    written
        The files.
    by
        The command.
    odd
        Files that were not as the manifest had them before; if they are among those written, that stays known.

    Raises
    ------
    ManifestError, OSError
        Where the manifest or a file can't be read or written.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return
    names = [path.relative_to(folder).as_posix() for path in written]
    files, altered = _renewed(folder, manifest, names, None), manifest.altered
    if rewritten := tuple(name for name in names if name in odd):
        altered += (Doubt(by, _now(), rewritten),)
    _save(folder, msgspec.structs.replace(manifest, files=files, altered=altered, written=_now()))


class Renewal:
    """A change of a session that has a manifest, from before its first file is touched until its last is written.

    Parameters
    ----------
    folder
        The session's folder; the caller holds its lock.
    by
        The command.
    show
        Called as files are read.

    Raises
    ------
    ManifestError, OSError
        Where the manifest or a file can't be read or written.
    """

    def __init__(self, folder: Path, by: str, show: Show | None = None) -> None:
        self._folder, self._by = folder, by
        self._manifest = read_manifest(folder)
        self._before: dict[str, tuple[int, int, int]] = {}
        self._found = Differences()
        self._begun = False
        if self._manifest is None:
            return
        self._found = compare(folder, self._manifest, show)
        self._before = _stats(folder)

    @property
    def problems(self) -> list[str]:
        """What this change builds on and is not as it was when the session was closed; a sentence each."""
        return self._found.without(cut_off(self._manifest, self._found)).sentences()

    def begin(self) -> None:
        """Say in the manifest that files are going to be written, before the first one is; safe to call twice.

        Raises
        ------
        OSError
            Where the manifest can't be written.
        """
        if self._manifest is not None and not self._begun:
            _save(self._folder, msgspec.structs.replace(self._manifest, writing=self._by))
            self._begun = True

    def finish(self, show: Show | None = None) -> None:
        """Renew the entries of the files that were written since.

        Parameters
        ----------
        show
            Called as they are read.

        Raises
        ------
        OSError
            Where a file can't be read, or the manifest can't be written.
        """
        manifest = self._manifest
        if manifest is None:
            return
        now = _stats(self._folder)
        written = [name for name in sorted(now.keys() | self._before.keys()) if now.get(name) != self._before.get(name)]
        files = _renewed(self._folder, manifest, written, show)
        altered, unguarded = manifest.altered, manifest.unguarded
        if unsure := cut_off(manifest, self._found):
            # Whoever was cut off wrote some of these, and nothing tells its work from another's.
            files = _renewed(self._folder, manifest, [*written, *unsure], show)
            unguarded += (Doubt(manifest.writing, _now(), unsure),)
        if rewritten := tuple(name for name in self._found.without(unsure).all if name in written):
            altered += (Doubt(self._by, _now(), rewritten),)
        renewed = msgspec.structs.replace(
            manifest, files=files, altered=altered, unguarded=unguarded, writing="", written=_now()
        )
        _save(self._folder, renewed)


def digests(folder: Path, names: Iterable[str], show: Show | None) -> dict[str, Entry]:
    """Read files and give their entries.

    Raises
    ------
    OSError
        Where one can't be read.
    """
    names = list(names)
    total = sum((folder / name).stat().st_size for name in names)
    done, found = 0, {}
    for name in names:
        digest, size = hashlib.sha256(), 0
        with (folder / name).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if show is not None:
                    show(done + size, total)
        done += size
        found[name] = Entry(size, digest.hexdigest())
    return found


def _renewed(folder: Path, manifest: Manifest, written: Iterable[str], show: Show | None) -> dict[str, Entry]:
    names = set(written)
    there = [name for name in sorted(names) if (folder / name).is_file()]
    kept = {name: entry for name, entry in manifest.files.items() if name not in names}
    return dict(sorted((kept | digests(folder, there, show)).items()))


def _files(folder: Path) -> tuple[list[str], list[str]]:
    """Files of a session that belong into its manifest, and what is no file; links are never followed."""
    files, odd = [], []
    for place, folders, names in os.walk(folder, onerror=_raise):
        here = Path(place)
        for name in sorted([*names, *folders]):
            path = here / name
            mode, relative = path.lstat().st_mode, path.relative_to(folder).as_posix()
            if stat.S_ISREG(mode):
                if not _is_ours(relative):
                    files.append(relative)
            elif not stat.S_ISDIR(mode):
                odd.append(relative)
    return sorted(files), sorted(odd)


def _backfill_writes(name: str) -> bool:
    is_video = PurePosixPath(name).suffix in {".mp4", ".mkv"}
    return not is_video and any(fnmatch(name, pattern) for pattern in BACKFILL_WRITES)


def _is_ours(name: str) -> bool:
    """Whether a file says something of programs that are at work, and nothing of the session."""
    is_reserve = name.rpartition("/")[2] == RESERVE
    return name in {NAME, f"{NAME}.tmp"} or is_lock(name) or name.endswith(LOCK_OF_ANALYSIS) or is_reserve


def _stats(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time and place of each file, which tell whether it was written."""
    found = {name: (folder / name).stat() for name in _files(folder)[0]}
    return {name: (about.st_size, about.st_mtime_ns, about.st_ino) for name, about in found.items()}


def _raise(error: OSError) -> None:
    raise error


def _now() -> str:
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")


def _save(folder: Path, manifest: Manifest) -> None:
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    with replacing(folder / NAME) as temporary:
        temporary.write_bytes(data + b"\n")
