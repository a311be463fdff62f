"""What comes when all processes of a run have ended: the results, the roles that come afterwards, the manifest."""

import contextlib

from msgspec.structs import replace

from posestream.stream.offline.progress import reading
from posestream.stream.run.children import Child, turned_away
from posestream.stream.run.current import CLOSE_S, CurrentRun
from posestream.stream.run.outcome import Outcome
from posestream.stream.session.json_files import write_record
from posestream.stream.session.reader import SUMMARY_FILE, read_summary
from posestream.stream.session.session_record import known
from posestream.stream.session.summary_record import SummaryRecord
from posestream.stream.wire.control import Configure, Start, Stop
from posestream.stream.wire.counters import BackfillCounters

__all__ = ["finish"]


def finish(run: CurrentRun, ended: str, seconds: float) -> Outcome:
    """Write the results and do what comes after a run.

    Parameters
    ----------
    run
        The run.
    ended
        What ended it.
    seconds
        How long it took.
    """
    run.display.phase("writing the results")
    run.output_is_gone()
    for child in run.crew:
        child.end(CLOSE_S)
        with contextlib.suppress(OSError):  # what the disk refuses here it refuses below, where it is said
            child.keep_log(run.session.folder / "logs")
    result = _write_results(run, ended, seconds)
    for row in run.crew.later:
        for child in run.crew.add(row) if not run.gone else []:
            result = _after(run, child, result)
    if not run.gone:
        result = _write_manifest(run, result)
    return Outcome(run.session.folder, result, [child for child in run.crew if child.trouble])


def _write_results(run: CurrentRun, ended: str, seconds: float) -> SummaryRecord:
    from posestream.stream.session.results import EndOfRun, write_results

    crew, turned = run.crew, turned_away(run.crew, run.dispatch.control)
    end = EndOfRun(
        cameras=crew.camera_counters,
        inference=crew.inference_counters,
        poses=crew.pose_counters,
        problems=run.problems,
        malformed=turned.malformed,
        refused=turned.refused,
        unclean=any(child.state in {"died", "failed"} for child in crew),
        ended=ended,
        seconds=seconds,
    )
    return write_results(run.session, end)


def _after(run: CurrentRun, child: Child, result: SummaryRecord) -> SummaryRecord:
    """Run a process on the session, which is complete and stays so whatever becomes of this; gives its summary."""
    folder, row = run.session.folder, child.row
    run.display.phase(row.arming)
    run.stops.forget()
    skipped = _work(run, child)
    child.end(CLOSE_S)
    child.keep_log(folder / "logs")
    summary = read_summary(folder) or result
    backfill = known(summary.backfill, None)
    run.problems = [*summary.problems, *(known(backfill.problems, []) if backfill is not None else [])]
    run.note_deaths()
    if skipped:
        run.display.phase(row.skipped.format(folder=folder))
    if run.problems != result.problems:
        summary = replace(summary, problems=run.problems, exit_status=1)
        write_record(folder / SUMMARY_FILE, summary)
    return summary


def _work(run: CurrentRun, child: Child) -> bool:
    """Take a process from its start to its end; says whether a person skipped the rest."""
    told = False
    run.start(child)
    while not child.over:
        run.tick()
        if child.state == "joined":
            run.dispatch.send(child, Configure(job=run.job(child.row, child.name)))
            child.state = "configured"
        elif child.state == "armed":
            run.dispatch.send(child, Start(poses=None))
            child.state = "running"
        if run.stops and not told and child.identity is not None:
            told = True
            run.dispatch.send(child, Stop(reason=child.row.end_reason))
        run.display.progress(child.counters.cameras if isinstance(child.counters, BackfillCounters) else {})
    return told


def _write_manifest(run: CurrentRun, result: SummaryRecord) -> SummaryRecord:
    """Write last of all what every file is; a stop that is asked for skips it. Gives the summary of the run."""
    from posestream.stream.session.manifest import write_manifest

    folder = run.session.folder
    run.stops.forget()
    run.display.phase("writing the manifest")
    tell = reading("manifest", run.display.progress)

    def show(done: int, total: int) -> None:
        if run.stops:
            raise InterruptedError
        tell(done, total)

    try:
        write_manifest(folder, run.session.id, "run", show)
    except InterruptedError:
        run.display.phase(f"no manifest was written; write it with: posestream recover {folder}")
    except OSError as error:
        text = f"{folder}: the manifest can't be written: {error.strerror}"
        return replace(result, problems=[*result.problems, text], exit_status=1)
    return result
