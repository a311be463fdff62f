"""Holds a session's files against its manifest, and says what that can't prove."""

from collections.abc import Sequence
from pathlib import Path

from posestream.stream.session.manifest import ManifestError, Show, compare, cut_off, read_manifest
from posestream.stream.session.session_record import SessionRecord, known

__all__ = ["CHECKSUM", "check_manifest"]

NAMED_FILES = 4
CHECKSUM = "crc32"
"""Column of `frames.csv`, where a session has it."""
NO_MANIFEST = "there is no manifest: nothing shows that poses, times, events and settings are those that were recorded"


def check_manifest(folder: Path, session: SessionRecord, show: Show | None = None) -> tuple[list[str], list[str]]:
    """Hold the files of a session against its manifest.

    Parameters
    ----------
    folder
        The session folder.
    session
        Its `session.json`.
    show
        Called as files are read.

    Returns
    -------
    problems, not_provable
        A sentence each: what is wrong, and what nothing shows.
    """
    try:
        manifest = read_manifest(folder)
        if manifest is None:
            gone = known(session.manifest, 0) and session.state != "recording"
            text = "manifest.json is missing: the run was cut off before it was written, or somebody removed it"
            return [f"{text}; write one with: posestream recover {folder}"] if gone else [], [NO_MANIFEST]
        found = compare(folder, manifest, show)
    except (ManifestError, OSError) as error:
        return [str(error)], [NO_MANIFEST]
    unsure = cut_off(manifest, found)
    problems = found.without(unsure).sentences()
    if manifest.session != session.id:
        problems.append("manifest.json is of another session")
    for doubt in manifest.altered:
        problems.append(f"{_named(doubt.files)}: changed by others before {doubt.by} rewrote it on {doubt.when}")
    unproved = [f"{_named(unsure)}: written by a {manifest.writing} that was cut off"] if unsure else []
    for doubt in manifest.unguarded:
        guarded = _with_checksums(folder, session)
        if files := [name for name in doubt.files if name not in guarded]:
            cut = "the run" if doubt.by == "recover" else f"a {doubt.by}"
            unproved.append(f"{_named(files)}: nothing guarded the content before {doubt.when}; {cut} was cut off")
    return problems, unproved


def _with_checksums(folder: Path, session: SessionRecord) -> set[str]:
    """Videos whose packets have checksums in the frame table, which the run wrote with them."""
    found = set()
    for name, details in session.cameras.items():
        table = folder / name / "frames.csv"
        if details.video and table.is_file():
            with table.open(encoding="utf-8", errors="replace") as file:
                if CHECKSUM in file.readline().strip().split(","):
                    found.add(f"{name}/{details.video}")
    return found


def _named(files: Sequence[str]) -> str:
    shown = ", ".join(files[:NAMED_FILES])
    return shown if len(files) <= NAMED_FILES else f"{shown} and {len(files) - NAMED_FILES} more files"
