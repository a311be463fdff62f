"""How a run stands and how it ends: its states, the errors of a start, its outcome, and who shows it to a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from posestream.stream.run.children import Child
from posestream.stream.session.session_record import known
from posestream.stream.session.summary_record import SummaryRecord
from posestream.stream.wire.counters import CameraCounters, InferenceCounters, WorkProgress
from posestream.stream.wire.errors import WRONG_USE, UserError
from posestream.stream.wire.messages import Event

__all__ = ["Display", "NothingRecordedError", "Outcome", "RunState", "RunView", "StartError", "WrongUseError"]


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


@dataclass(frozen=True, kw_only=True)
class RunView:
    """Where a run stands, for those who show it."""

    seconds: float
    """Since it began to record."""
    asked_s: float | None
    """Seconds that it is to record; none where something else ends it."""
    free_bytes: int
    """Space left where it records."""
    malformed: int
    """Messages that were dropped, in all processes."""
    refused: int
    """Connections that were refused."""
    cameras: Mapping[str, CameraCounters | None]
    """Last counters of each camera; none of one that has not told any."""
    inference: InferenceCounters | None
    """Last counters of inference; none where it has told none, or none runs."""
    deaf: Sequence[str] = ()
    """Cameras of which inference receives no frame."""


class Display(Protocol):
    """Who shows a person how the run goes; called from the supervisor's thread."""

    def phase(self, text: str) -> None:
        """Say what is being done now."""

    def event(self, event: Event) -> None:
        """Show something that happened."""

    def problem(self, text: str) -> None:
        """Show what went wrong, at once."""

    def running(self, view: RunView) -> None:
        """Show where the run stands; called a few times a second."""

    def progress(self, work: Mapping[str, WorkProgress]) -> None:
        """Show where work on cameras, videos or files stands, by their names; called a few times a second."""


class Outcome:
    """How a run ended."""

    def __init__(self, folder: Path, summary: SummaryRecord, failed: list[Child]) -> None:
        self.folder, self.summary = folder, summary
        self.places = {child.title: child.place for child in failed if child.place}
        """Where each process that failed broke, for developers."""
        logs = [folder / "logs" / child.log_name for child in failed if child.log_name]
        self.logs = [log for log in logs if log.exists()]
        """What each of them printed."""

    @property
    def status(self) -> int:
        """Exit status: 0 as asked, 1 something failed or was lost."""
        return known(self.summary.exit_status, 0)
