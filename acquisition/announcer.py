"""Tells subscribers and the supervisor what happens to a camera, and greets who subscribes."""

from collections import deque
from typing import Literal

from posestream.stream.wire.clock import clock_name, monotonic_ns, wall_ns
from posestream.stream.wire.messages import Event, Hello, StreamInfo, encode_event, encode_hello
from posestream.stream.wire.sockets import Publisher

__all__ = ["Announcer"]

HELLO_NS = 1_000_000_000
MAX_EVENTS = 1_000
"""Events that may wait to be told; then the oldest goes, and is counted."""
MAX_TEXT = 2_000
"""Characters of an event's text that the protocol carries."""

Level = Literal["info", "warning", "error"]


class Announcer:
    """Says what happened: to subscribers on the publisher's socket, to the supervisor by events that wait to be taken.

    Parameters
    ----------
    publisher
        Where frames go; the thread that owns it calls `greet` and `tell`.
    info
        The stream, for greetings.
    session
        The session's id.
    """

    def __init__(self, publisher: Publisher, info: StreamInfo, session: str) -> None:
        self._publisher, self._info, self._session = publisher, info, session
        self._greeted_ns = 0
        self._unsent: deque[Event] = deque(maxlen=MAX_EVENTS)  # that other threads want sent
        self.events: deque[Event] = deque(maxlen=MAX_EVENTS)
        """What the supervisor is to be told; whoever reads it takes it out."""
        self.dropped = 0
        """Events that nobody took in time."""

    def greet(self) -> None:
        """Send what other threads want told, and a greeting to whoever is new, or once a second."""
        while self._unsent:
            self._publisher.send(encode_event(self._unsent.popleft()))
        now = monotonic_ns()
        if self._publisher.new_subscriptions() or now - self._greeted_ns > HELLO_NS:
            self._greeted_ns = now
            hello = Hello(
                session=self._session,
                source=self._info.camera,
                role="frames",
                clock=clock_name(),
                streams=(self._info,),
            )
            self._publisher.send(encode_hello(hello))

    def tell(self, level: Level, name: str, text: str, **data: float) -> None:
        """Tell subscribers and the supervisor."""
        event = self._event(level, name, text, data)
        self._publisher.send(encode_event(event))
        self._keep(event)

    def warn(self, name: str, text: str, **data: float) -> None:
        """Tell both of something that another thread has found."""
        event = self._event("warning", name, text, data)
        self._unsent.append(event)
        self._keep(event)

    def report(self, level: Level, name: str, text: str, **data: float) -> None:
        """Tell the supervisor alone; any thread may."""
        self._keep(self._event(level, name, text, data))

    def _event(self, level: Level, name: str, text: str, data: dict[str, float]) -> Event:
        return Event(
            session=self._session,
            source=self._info.camera,
            time_ns=monotonic_ns(),
            wall_ns=wall_ns(),
            level=level,
            name=name,
            text=text[:MAX_TEXT],
            data=dict(data),
        )

    def _keep(self, event: Event) -> None:
        if len(self.events) == MAX_EVENTS:
            self.dropped += 1
        self.events.append(event)
