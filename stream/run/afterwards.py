"""What comes when all processes of a run have ended: the results, the roles that come afterwards, the manifest."""

import contextlib
import json
from typing import Any

from posestream.stream.offline.progress import reading
from posestream.stream.run.children import Child, turned_away
from posestream.stream.run.current import CLOSE_S, CurrentRun
from posestream.stream.run.outcome import Outcome
from posestream.stream.session.record import write_json
from posestream.stream.wire.control import Configure, Start, Stop

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
        _write_manifest(run, result)
    return Outcome(run.session.folder, result, [child for child in run.crew if child.trouble])


def _write_results(run: CurrentRun, ended: str, seconds: float) -> dict[str, Any]:
    from posestream.stream.session.results import write_results

    crew = run.crew
    return write_results(
        run.session,
        run.rig,
        streams=crew.streams,
        videos={n: c.armed.details.get("video") for n, c in crew.cameras.items() if c.armed is not None},
        inference=crew.inference_armed.details if crew.inference_armed is not None else None,
        values=crew.values,
        problems=run.problems,
        turned_away=turned_away(crew.values, run.dispatch.control),
        unclean=any(child.state in {"died", "failed"} for child in crew),
        ended=ended,
        seconds=seconds,
    )


def _after(run: CurrentRun, child: Child, result: dict[str, Any]) -> dict[str, Any]:
    """Run a process on the session, which is complete and stays so whatever becomes of this; gives its summary."""
    folder, row = run.session.folder, child.row
    run.display.phase(row.arming)
    run.stops.forget()
    skipped = _work(run, child)
    child.end(CLOSE_S)
    child.keep_log(folder / "logs")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    run.problems = summary["problems"] + summary.get(row.name, {}).get("problems", [])
    run.note_deaths()
    if skipped:
        run.display.phase(row.skipped.format(folder=folder))
    if run.problems != result["problems"]:
        summary |= {"problems": run.problems, "exit_status": 1}
        write_json(folder / "summary.json", summary)
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
        run.display.progress(child.values)
    return told


def _write_manifest(run: CurrentRun, result: dict[str, Any]) -> None:
    """Write last of all what every file is; a stop that is asked for skips it."""
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
        result["problems"] = [*result["problems"], f"{folder}: the manifest can't be written: {error.strerror}"]
        result["exit_status"] = 1
