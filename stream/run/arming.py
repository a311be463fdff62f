"""Before the start: every process joins, gets its job and arms; whatever is wrong is said now.

Roles arm in the order of their table, for the job of one may need what those before it said.
"""

import time
from collections.abc import Callable

from posestream.stream.run.children import Child
from posestream.stream.run.current import CurrentRun
from posestream.stream.run.outcome import NothingRecordedError, WrongUseError
from posestream.stream.run.roles import ARM_S
from posestream.stream.wire.control import Configure

__all__ = ["arm"]


def arm(run: CurrentRun) -> None:
    """Arm all processes of the run.

    Raises
    ------
    WrongUseError
        Where one says that what it was asked for can't be.
    NothingRecordedError
        Where one fails, dies, or is not ready in time, or somebody asks the run to stop.
    """
    for row in run.crew.rows:
        children = run.crew.of(row.name)
        if not children:
            continue
        if row.arming:
            run.display.phase(row.arming)
        for child in children:
            _configure(run, child)
        _until_armed(run, children, row.arm_s)


def _configure(run: CurrentRun, child: Child) -> None:
    job = run.job(child.row, child.name)
    if child.remote and child.state == "starting":
        keys = " --keys FOLDER" if run.rig.network.keys is not None else ""
        command = f"posestream join {child.role} {run.dispatch.control.endpoint}{keys}"
        run.display.phase(f"waiting for {child.title}; on its machine run: {command}")
    timeout_s = None if child.remote else ARM_S
    _wait(run, lambda: child.state != "starting", timeout_s, lambda: f"{child.title} did not start")
    run.dispatch.send(child, Configure(job=job))
    child.state = "configured" if child.state == "joined" else child.state


def _until_armed(run: CurrentRun, children: list[Child], timeout_s: float) -> None:
    def late() -> str:
        return ", ".join(f"{child.title} is not ready{_at(child)}" for child in children if child.state != "armed")

    _wait(run, lambda: all(child.state == "armed" for child in children), timeout_s, late)


def _at(child: Child) -> str:
    return f"; it may be {child.plugin} that does not return" if child.plugin else ""


def _wait(run: CurrentRun, ready: Callable[[], bool], timeout_s: float | None, late: Callable[[], str]) -> None:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while not ready():
        run.tick()
        for child in run.crew:
            _check(child)
        if run.stops:
            raise NothingRecordedError(f"{run.stops.reason} before the start; nothing was recorded")
        if deadline is not None and time.monotonic() > deadline:
            raise NothingRecordedError(f"{late()}, after {timeout_s:g} s")


def _check(child: Child) -> None:
    if child.failure is not None:
        kind = WrongUseError if child.failure.kind == "usage" else NothingRecordedError
        text = child.failure.text if kind is WrongUseError else child.trouble
        raise kind(_own(child, text), child.place)
    if child.over:
        raise NothingRecordedError(f"{child.title} {child.death or 'ended'}, before the start", child.place)


def _own(child: Child, text: str) -> str:
    """Say whose words these are, where they were said on another machine."""
    return f"{child.title}, on its machine: {text}" if child.remote and not text.startswith(child.title) else text
