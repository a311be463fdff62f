"""The run under way: what its phases (arming, recording, ending, what comes afterwards) share."""

from pathlib import Path

from posestream.stream.rig import Rig
from posestream.stream.run.children import Child
from posestream.stream.run.crew import Crew
from posestream.stream.run.dispatch import Dispatch
from posestream.stream.run.event_log import EventLog
from posestream.stream.run.listening import Listening
from posestream.stream.run.outcome import Display
from posestream.stream.run.preparing import keys_folder
from posestream.stream.run.roles import Briefing, Death, RoleRow
from posestream.stream.session.record import Session
from posestream.stream.wire.control import ControlServer
from posestream.stream.wire.deaths import ThreadDeaths
from posestream.stream.wire.jobs import Job
from posestream.stream.wire.messages import Event

__all__ = ["CLOSE_S", "CurrentRun", "StopRequests"]

TICK_S = 0.05
CLOSE_S = 30.0
"""Seconds without progress after which a process that should end is killed, and the report says so."""


class StopRequests:
    """Requests to end what is being done now; any thread and a signal's handler may make one, so nothing is locked."""

    def __init__(self) -> None:
        self.reason = ""
        """Of the last request that nobody has followed yet; empty where there is none."""

    def ask(self, reason: str) -> None:
        """Make one."""
        self.reason = reason

    def forget(self) -> None:
        """See those that were made as followed: the next is for what is done next."""
        self.reason = ""

    def __bool__(self) -> bool:
        return bool(self.reason)


class CurrentRun:
    """A run from the start of its processes on.

    Parameters
    ----------
    rig, rig_folder
        The rig, and the folder from which its relative paths are taken.
    session
        The session.
    crew
        The processes.
    control
        The connection to them.
    logs
        Folder for what processes print until the session has one.
    stops
        Requests to end.
    display
        Who shows how it goes.
    """

    def __init__(
        self,
        rig: Rig,
        rig_folder: Path,
        session: Session,
        crew: Crew,
        control: ControlServer,
        logs: Path,
        stops: StopRequests,
        display: Display,
    ) -> None:
        self.rig, self.rig_folder, self.session, self.crew = rig, rig_folder, session, crew
        self.logs, self.stops, self.display = logs, stops, display
        self.dispatch = Dispatch(control, crew.children, self.note)
        self.log = EventLog()
        self.listening: Listening | None = None
        self.problems: list[str] = []
        self.deaths = ThreadDeaths()
        self.gone = False
        """Whether the session folder is gone."""
        self._reported: set[str] = set()  # processes whose end is among the problems

    def start(self, child: Child) -> None:
        """Start a process, unless it is remote."""
        child.start(self.dispatch.control.endpoint, keys_folder(self.rig, self.rig_folder), self.logs)

    def tick(self) -> None:
        """Do for a moment what every phase does: hear the processes, and look at them."""
        self.dispatch.receive(TICK_S)
        if self.listening is not None:
            self.listening.look()
        self.log.sync()

    def job(self, row: RoleRow, name: str) -> Job:
        """Make the job of a process, of what those said that it needs."""
        place = next(place for place in row.places(self.rig) if place.name == name)
        return row.job(Briefing(self.rig, self.rig_folder, self.session, self.crew.armed(row.needs)), place)

    def note(self, event: Event) -> None:
        """Write an event down and show it."""
        self.log.write(event)
        self.display.event(event)

    def close_log(self) -> None:
        """Close the events; what comes now is shown only."""
        if missing := self.log.close():
            self.problems.append(missing)

    def complain(self, text: str) -> None:
        """Say what went wrong, now and in the summary."""
        self.problems.append(text)
        self.display.problem(text)

    def note_deaths(self) -> bool:
        """Say of every process and thread that has died or failed since the last look; whether that ends the run."""
        ends = False
        for child in self.crew:
            if child.trouble and child.role not in self._reported:
                ends |= child.row.death is Death.ENDS_RUN
                self._reported.add(child.role)
                self.complain(child.trouble)
        if text := self.deaths.take():
            ends = True
            self.complain(f"the supervisor: {text}")
        return ends

    def output_is_gone(self) -> bool:
        """See whether somebody has deleted the session folder, or unmounted its disk; true once."""
        folder = self.session.folder
        if self.gone or folder.is_dir():
            return False
        self.gone = True
        self.complain(f"the session folder {folder} is gone: it was deleted or moved, or its disk was unmounted")
        return True
