"""Closes what a crash left open: tables, DeepLabCut's files, the summary, and the session's last word."""

from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace

from posestream.stream.disk.lock import refuse_live, session_lock
from posestream.stream.disk.reserve import NAME as RESERVE
from posestream.stream.disk.writer_locks import SESSION, is_lock
from posestream.stream.session.closing import close_camera, read_camera
from posestream.stream.session.events import EVENTS, count_events
from posestream.stream.session.json_files import write_record
from posestream.stream.session.manifest import NAME, Renewal, Show, write_manifest
from posestream.stream.session.reader import SESSION_FILE, SUMMARY_FILE, SummaryError, load_session, read_summary
from posestream.stream.session.reconcile import cut_to_whole_lines, left_open, reconcile_camera
from posestream.stream.session.record import remote_folder
from posestream.stream.session.results import losses
from posestream.stream.session.session_record import BackfillRecord, SessionRecord, known
from posestream.stream.session.summary import summarize_camera
from posestream.stream.session.summary_record import CameraSummary, RecordedCounters, SummaryRecord
from posestream.stream.session.table_checks import check_tables

__all__ = ["recover_session"]

CUT_OFF = "the run was cut off before it could close its files"


def recover_session(folder: Path, show: Show | None = None) -> list[str]:
    """Recover a session, or what a backfill left open in it; does nothing to one that was closed.

    `summary.json` then says what a run's own says, as far as the tables tell it; what only the processes knew is None.

    Parameters
    ----------
    folder
        The session folder.
    show
        Called as its files are read for the manifest.

    Returns
    -------
    list of str
        What was done, a sentence each.

    Raises
    ------
    NoSessionError
        Where the folder is no session.
    LiveSessionError
        Where a process of the run may still write to it; nothing was changed.
    InUseError
        Where another process changes it.
    TableError
        Where a table is none of a run's; nothing was changed.
    ManifestError
        Where its manifest can't be read.
    OSError
        Where the folder can't be written to.
    """
    session = load_session(folder)
    refuse_live(folder)
    if _is_closed(folder, session) and (session.manifest is UNSET or (folder / NAME).exists()):
        return _remove_reserves(folder)
    check_tables(folder, session)
    with session_lock(folder):
        session = load_session(folder)  # as whoever had it until now left it
        has_manifest = (folder / NAME).exists()
        renewal = Renewal(folder, "recover", show)
        done = list(renewal.problems)
        renewal.begin()
        if not _is_closed(folder, session):
            done = _close(folder, session, done)
        if has_manifest:
            renewal.finish(show)
        else:
            write_manifest(folder, session.id, "recover", show)
        return [*done, f"{NAME} was {'renewed' if has_manifest else 'written'}"]


def _is_closed(folder: Path, session: SessionRecord) -> bool:
    open_ended = session.state == "recording" or session.backfill_was_cut_off
    return not open_ended and not any(left_open(folder / name) for name in session.here)


def _close(folder: Path, session: SessionRecord, done: list[str]) -> list[str]:
    """Close what was left open; gives what was done until now, a sentence each."""
    before, cameras, was_open = _summary_before(folder), dict[str, CameraSummary](), session.state == "recording"
    unmerged = any(left_open(folder / name) for name in session.here)
    done = [*done, *_remove_leftovers(folder), *cut_to_whole_lines(folder)]
    if not (folder / EVENTS).exists():
        (folder / EVENTS).touch()
        done.append(f"{EVENTS} was missing and has been made")
    problems = [CUT_OFF] if was_open else []
    without_pose = 0
    for name in session.cameras:
        counters = known(before.cameras.get(name, CameraSummary()).counters, None)
        if session.rig.cameras[name].remote:
            cameras[name] = CameraSummary(remote=str(remote_folder(folder, name)), counters=counters)
            continue
        (folder / name).mkdir(exist_ok=True)
        texts, cameras[name], missing = _recover_camera(folder / name, session, counters)
        problems += [f"camera {name}: {text}" for text in texts]
        without_pose += missing
    done += [text for text in problems if text != CUT_OFF]
    done += [f"{file} was written" for camera in cameras.values() for file in known(camera.files, [])]
    done.append("summary.json was written")
    if session.backfill_was_cut_off and isinstance(session.backfill, BackfillRecord):
        session = replace(session, backfill=replace(session.backfill, state="partial", without_pose=without_pose))
        done.append("a backfill that was cut off was closed; posestream backfill goes on with it")
    problems += losses(cameras, every_frame=session.is_every_frame, engine=session.engine)
    if was_open:
        ended = before.ended if before.ended is not None else "cut off"
        session = replace(session, state="recovered", ended=ended, problems=problems)
    else:
        problems = [*before.problems, *(text for text in problems if unmerged and text not in before.problems)]
    write_record(folder / SUMMARY_FILE, _summary(folder, session, before, cameras, problems))
    write_record(folder / SESSION_FILE, replace(session, recovery=done))
    return done


def _remove_reserves(folder: Path) -> list[str]:
    """Remove the space that processes held that were killed in a run which closed its session all the same."""
    if not any((place / RESERVE).exists() for place in (folder, *folder.iterdir())):
        return []
    with session_lock(folder):
        return _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> list[str]:
    """Remove what a run that ends by itself does not leave: locks, space held back, files meant to replace others."""
    locks = [path for path in folder.glob("*.lock") if is_lock(path.name) and path.stem != SESSION]
    found = [path for pattern in (RESERVE, "*.tmp") for path in (*folder.glob(pattern), *folder.glob(f"*/{pattern}"))]
    for path in (*locks, *found):
        path.unlink()
    return [f"{path.relative_to(folder).as_posix()}, a leftover, was removed" for path in sorted(found)]


def _summary_before(folder: Path) -> SummaryRecord:
    """Read what a run, or a recovery before this one, still wrote of its summary."""
    try:
        return read_summary(folder) or SummaryRecord()
    except SummaryError:
        return SummaryRecord()


def _recover_camera(
    folder: Path, session: SessionRecord, counters: RecordedCounters | None
) -> tuple[list[str], CameraSummary, int]:
    """Recover a camera's folder; gives what was wrong, its part of the summary, and the frames without a pose."""
    captured, video = counters.captured if counters is not None else 0, session.cameras[folder.name].video
    wrong = reconcile_camera(folder, video, bodyparts=session.bodyparts, captured=captured)
    tables = read_camera(folder, inferred=session.inference is not None)
    summary = summarize_camera(folder, session.cameras[folder.name].stream, video, tables, counters)
    files = close_camera(folder, tables, session)
    without_pose = len(tables.without_pose) if video is not None else 0
    return wrong, replace(summary, files=files, counters=counters), without_pose


def _summary(
    folder: Path,
    session: SessionRecord,
    before: SummaryRecord,
    cameras: dict[str, CameraSummary],
    problems: list[str],
) -> SummaryRecord:
    backfill = session.backfill
    return replace(
        before,
        session=session.id,
        folder=str(folder.absolute()),
        ended=before.ended if before.ended is not None else known(session.ended, None),
        exit_status=1 if problems else 0,
        problems=problems,
        cameras=cameras,
        events=count_events(folder),
        backfill=replace(backfill, problems=[]) if isinstance(backfill, BackfillRecord) else before.backfill,
    )
