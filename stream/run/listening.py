"""Sees that inference receives what the cameras of this run send, and tells where it does not."""

from collections.abc import Callable

from posestream.stream.disk.tables import SkipCause
from posestream.stream.run.crew import Crew
from posestream.stream.run.frame_watch import FrameWatch
from posestream.stream.wire.messages import Event

__all__ = ["Listening"]


class Listening:
    """A `FrameWatch` on the processes of a run.

    Parameters
    ----------
    crew
        The processes.
    session
        The session's id.
    note
        Takes the events that say what has changed.
    """

    def __init__(self, crew: Crew, session: str, note: Callable[[Event], None]) -> None:
        self._crew, self._session, self._note, self._watch = crew, session, note, FrameWatch()

    def look(self) -> None:
        """Compare the last reports."""
        inference = self._crew.inference
        if inference is None or inference.over:
            return
        told = self._crew.inference_counters
        received = {
            name: camera.received + camera.skipped.get(SkipCause.LOST_ON_WIRE, 0)
            for name, camera in (told.cameras if told is not None else {}).items()
        }
        streams = self._crew.streams
        for change in self._watch.look(self._crew.sent, received, inference.heard_s):
            self._note(change.event(self._session, streams[change.camera]))

    @property
    def deaf(self) -> list[str]:
        """Cameras of which inference receives no frame."""
        return self._watch.deaf

    @property
    def missing(self) -> dict[str, int]:
        """Frames that are missing, by each camera of which inference says itself that it receives none."""
        return self._watch.missing
