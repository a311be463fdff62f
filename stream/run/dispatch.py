"""Takes each report that comes in to the process that it is from, and sends each the commands that are for it."""

import time
from collections.abc import Callable, Sequence

import msgspec

from posestream.stream.run.children import Child, refusal
from posestream.stream.wire.control import Command, ControlServer, Join, Notice, Report, Stop
from posestream.stream.wire.messages import Event

__all__ = ["Dispatch"]


class Dispatch:
    """The supervisor's post office.

    Parameters
    ----------
    control
        The connection to all processes.
    children
        The processes of the run; more may be added to them.
    note
        Takes an event that one of them tells of.
    """

    def __init__(self, control: ControlServer, children: Sequence[Child], note: Callable[[Event], None]) -> None:
        self.control, self._children, self._note = control, children, note

    def receive(self, seconds: float) -> None:
        """Take in what is reported in so many seconds, and see which processes are still there."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0 and (received := self.control.receive(left_s)) is not None:
            self._take(*received)
        for child in self._children:
            child.look()

    def send(self, child: Child, command: Command) -> None:
        """Send a command to a process, which may not be there."""
        if child.identity is not None:
            self.control.send(child.identity, command)

    def _take(self, identity: bytes, report: Report) -> None:
        child = next((c for c in self._children if identity == c.identity), None)
        if child is None and isinstance(report, Join):
            child = self._place(report)
        if child is None:
            self._turn_away(identity, report)
        elif isinstance(report, Notice):
            self._note(report.event)
        else:
            try:
                child.take(identity, report)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.control.malformed["counters"] += 1

    def _place(self, join: Join) -> Child | None:
        """Find the process that this is, of those that are not there yet."""
        waiting = [c for c in self._children if c.role == join.role and c.identity is None]
        return waiting[0] if waiting and not (waiting[0].remote and refusal(waiting, join)) else None

    def _turn_away(self, identity: bytes, report: Report) -> None:
        self.control.malformed["stranger"] += 1
        if isinstance(report, Join) and (reason := refusal(self._children, report)):
            self.control.send(identity, Stop(reason=reason, refused=True))
