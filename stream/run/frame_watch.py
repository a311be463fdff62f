"""Sees whether inference receives what the cameras send, whatever may keep it from that.

Neither side can know by itself: a camera publishes for anybody or nobody, and inference that hears nothing may have a
camera that waits for its trigger. The supervisor hears both, twice a second.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from posestream.stream.wire.clock import monotonic_ns, wall_ns
from posestream.stream.wire.endpoints import is_loopback
from posestream.stream.wire.messages import Event, StreamInfo

__all__ = ["FrameWatch", "Hearing"]

MISSED_S = 0.7
"""Seconds for which frames were sent and none received, as inference says itself, until that is said. Both sides report
every half second, so the first missing frame is known of within two seconds."""
UNREPORTED_S = 1.2
"""The same where inference says nothing."""


@dataclass(frozen=True)
class Hearing:
    """A change: inference has stopped receiving a camera's frames, or receives them again."""

    camera: str
    missing: int
    """Frames that were sent and not received."""
    seconds: float
    """For how long none was."""
    again: bool
    """Whether frames come again."""
    reported: bool
    """Whether inference says so itself; else it has said nothing in this time."""

    def event(self, session: str, stream: StreamInfo) -> Event:
        """Give the event that says so."""
        text = f"inference has received no frame of camera {self.camera} for {self.seconds:.1f} s"
        text += f"; {self.missing} were sent"
        if self.again:
            text = f"inference receives frames of camera {self.camera} again, after {self.seconds:.1f} s"
        elif not self.reported:
            text = f"inference has not reported for {self.seconds:.1f} s, in which camera {self.camera} sent frames"
            text += "; is its machine too busy, or the connection broken?"
        elif stream.endpoint.startswith("tcp://") and not is_loopback(stream.endpoint):
            text += f". Can its machine reach {stream.endpoint} (address, firewall), and are the keys on both the same?"
        return Event(
            session=session,
            source=self.camera,
            time_ns=monotonic_ns(),
            wall_ns=wall_ns(),
            level="info" if self.again else "warning",
            name="frames-again" if self.again else "no-frames",
            text=text,
            data={"missing": self.missing, "seconds": round(self.seconds, 1)},
        )


class _Camera:
    def __init__(self) -> None:
        self.sent = self.received = 0
        self.sent_then = 0  # when inference last received one
        self.since: float | None = None  # when the first frame was seen to be missing
        self.deaf = self.certain = False


class FrameWatch:
    """Compares what cameras sent with what inference received.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cameras: dict[str, _Camera] = {}

    @property
    def deaf(self) -> list[str]:
        """Cameras of which inference receives no frame."""
        return [name for name, camera in self._cameras.items() if camera.deaf]

    @property
    def missing(self) -> dict[str, int]:
        """Frames that are missing, by each camera of which inference says itself that it receives none."""
        return {name: camera.sent - camera.received for name, camera in self._cameras.items() if camera.certain}

    def look(self, sent: Mapping[str, int], received: Mapping[str, int], reported_s: float) -> list[Hearing]:
        """Compare the last reports; gives what has changed.

        Parameters
        ----------
        sent
            Frames that each camera has published.
        received
            Frames that inference has received, or has noted as lost.
        reported_s
            When inference last reported, on the clock.
        """
        changes = (self._look(name, sent[name], received.get(name, 0), reported_s) for name in sent)
        return [change for change in changes if change is not None]

    def _look(self, name: str, sent: int, received: int, reported_s: float) -> Hearing | None:
        now, camera = self._clock(), self._cameras.setdefault(name, _Camera())
        camera.sent = sent
        if received > camera.received or received >= sent:
            since, deaf = camera.since or now, camera.deaf
            camera.received, camera.sent_then, camera.since = received, sent, None
            camera.deaf = camera.certain = False
            return Hearing(name, sent - received, now - since, again=True, reported=True) if deaf else None
        if camera.since is None and sent > camera.sent_then:
            camera.since = now
        if camera.since is None:
            return None
        told, camera.certain = camera.deaf, reported_s - camera.since > MISSED_S
        camera.deaf = camera.certain or now - camera.since > UNREPORTED_S
        if told or not camera.deaf:
            return None
        return Hearing(name, sent - received, now - camera.since, again=False, reported=camera.certain)
