"""Ends the processes of a run in the order of the data.

Cameras stop and close their videos, inference finishes the frames that are on their way, the pose recorder writes the
last pose. Whoever hears the end in what it reads ends by itself; the others are told.
"""

import time

from posestream.stream.run.children import Child
from posestream.stream.run.current import CLOSE_S, CurrentRun
from posestream.stream.run.roles import RoleRow
from posestream.stream.wire.control import Stop

__all__ = ["end_run"]


def end_run(run: CurrentRun, ended: str) -> None:
    """End all processes; a stop that is asked for meanwhile skips what they would still finish.

    Parameters
    ----------
    run
        The run.
    ended
        What ended it.
    """
    run.display.phase(f"ending ({ended}): closing the videos")
    finishing = False
    for row in sorted(run.crew.rows, key=lambda row: row.ends):
        if row.ended_by and not finishing:
            run.stops.forget()  # what ended the run is done when the first have ended
            finishing = True
        children = run.crew.of(row.name)
        if row.finishing and not all(child.over for child in children):
            run.display.phase(row.finishing)
        _end(run, children, row.end_reason.format(ended=ended), at_once=_is_told(run, row))
    run.note_deaths()


def _is_told(run: CurrentRun, row: RoleRow) -> bool:
    """Whether a role must be told to end.

    Whoever was killed says nothing to those who wait for its last word, and what nobody records need not come.
    """
    unsaid = any(child.state == "died" for child in run.crew.of(*row.ended_by))
    unheard = any(child.over for child in run.crew.of(row.read_by))
    return not row.ended_by or unsaid or unheard


def _end(run: CurrentRun, waiting: list[Child], reason: str, *, at_once: bool) -> None:
    told = False
    changed, counters = time.monotonic(), [child.counters for child in waiting]
    while not all(child.over for child in waiting):
        if not told and (at_once or run.stops or _gets_no_end(run, waiting)):
            told = True
            for child in waiting:
                run.dispatch.send(child, Stop(reason=reason, frames=run.crew.sent))
        run.tick()
        now = [child.counters for child in waiting]
        if now != counters:
            changed, counters = time.monotonic(), now
        if time.monotonic() - changed > CLOSE_S:
            if told:
                _kill(waiting)
            else:
                at_once, changed = True, time.monotonic()


def _kill(waiting: list[Child]) -> None:
    for child in waiting:
        if not child.over:
            child.end(0)
            child.state, child.death = "died", f"did not end within {CLOSE_S:g} s and was killed"


def _gets_no_end(run: CurrentRun, waiting: list[Child]) -> bool:
    """Whether inference, which is to end when the cameras say so, hears nothing from one of them."""
    if run.listening is None or run.crew.inference not in waiting or not run.listening.missing:
        return False
    for name, missing in run.listening.missing.items():
        run.complain(f"camera {name}: inference received none of the last {missing} frames")
    run.listening = None
    return True
