"""How a run stands and how it ends: its states, the errors of a start, its outcome, and who shows it to a person."""

from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from posestream.stream.run.children import Child
from posestream.stream.wire.control import Values
from posestream.stream.wire.errors import WRONG_USE, UserError
from posestream.stream.wire.messages import Event

__all__ = ["Display", "NothingRecordedError", "Outcome", "RunState", "StartError", "WrongUseError"]


class RunState(Enum):
    """Where a run stands."""

    PREPARING = "preparing"
    """Its rig, output and addresses are checked; nothing has been started."""
    ARMING = "arming"
    """Processes start, open their devices and load the network."""
    ARMED = "armed"
    """Every process is ready; the session's files are made, and processes are told to begin."""
    RECORDING = "recording"
    ENDING = "ending"
    """Processes end one after the other, in the order of the data."""
    CLOSING = "closing"
    """The results are written, and what comes after a run is done: the backfill, the manifest."""
    COMPLETE = "complete"
    """There is an outcome, good or bad."""
    FAILED = "failed"
    """There is none: the run did not start, or the supervisor itself broke."""


class StartError(UserError):
    """A run that did not start; the text is for people.

    Parameters
    ----------
    text
        What is wrong.
    place
        Where it broke, for developers.
    """

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.place = place
        self.log: Path | None = None
        """Kept log of the process that failed, or the folder of all logs; none where nothing was printed."""


class WrongUseError(StartError):
    """What was asked for can't be done; nothing was recorded. The text is for people."""

    exit_status = WRONG_USE


class NothingRecordedError(StartError):
    """Something broke, or somebody interrupted, before anything was recorded. The text is for people."""


class Display(Protocol):
    """Who shows a person how the run goes; called from the supervisor's thread."""

    def phase(self, text: str) -> None:
        """Say what is being done now."""

    def event(self, event: Event) -> None:
        """Show something that happened."""

    def problem(self, text: str) -> None:
        """Show what went wrong, at once."""

    def running(self, view: dict[str, Any]) -> None:
        """Show where the run stands; called a few times a second."""

    def progress(self, values: Values) -> None:
        """Show where the backfill stands; called a few times a second."""


class Outcome:
    """How a run ended."""

    def __init__(self, folder: Path, summary: dict[str, Any], failed: list[Child]) -> None:
        self.folder, self.summary = folder, summary
        self.places = {child.title: child.place for child in failed if child.place}
        """Where each process that failed broke, for developers."""
        logs = [folder / "logs" / child.log_name for child in failed if child.log_name]
        self.logs = [log for log in logs if log.exists()]
        """What each of them printed."""

    @property
    def status(self) -> int:
        """Exit status: 0 as asked, 1 something failed or was lost."""
        return int(self.summary["exit_status"])
