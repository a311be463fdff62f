"""How the supervisor and its processes talk: they join, are configured, say that they are armed, start, and end.

A process connects (DEALER) to the address that the supervisor bound (ROUTER), on this machine or another, and learns
everything else from there. No frame and no pose travels here, and nobody waits for an answer without a time limit.

A process names its own connection, so that one that broke and was made again is known to the supervisor as before.
"""

import contextlib
import math
import time
import uuid
from collections import Counter
from typing import Annotated, Any, Literal

import msgspec
import zmq
from msgspec import Meta
from zmq.utils.monitor import recv_monitor_message

from posestream.stream.wire.details import CameraDetails, InferenceDetails
from posestream.stream.wire.endpoints import remove_socket
from posestream.stream.wire.jobs import Job
from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import Event, StreamInfo, Text
from posestream.stream.wire.sockets import Door, bind, connect, limit_parts

__all__ = [
    "Armed",
    "Command",
    "Configure",
    "ControlLink",
    "ControlServer",
    "Failed",
    "Finished",
    "Join",
    "Notice",
    "Report",
    "Start",
    "Status",
    "Stop",
]

MAX_CONTROL_BYTES = 2**20
MAX_TRACEBACK = 8_000
"""Characters of a traceback that travel."""
VANISHED_S = 20
"""Seconds after which a machine whose system does not answer is gone: one that is switched off closes no connection.
The system answers for a program that is suspended, so that one is waited for."""
REFUSED = 3
"""Connections closed in the handshake, one after the other, that are no accident."""
RETRY_S = 0.5
"""Seconds after which a connection that was refused is tried again; libzmq would not."""
_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
)
_VANISHED = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: VANISHED_S // 2,
    zmq.TCP_KEEPALIVE_INTVL: VANISHED_S // 4,
    zmq.TCP_KEEPALIVE_CNT: 2,
    zmq.TCP_MAXRT: VANISHED_S * 1_000,
}
_REFUSALS = {zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH}


class _Tagged(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class Join(_Tagged, frozen=True, kw_only=True, tag="join"):
    """A process is there and waits for its job."""

    role: Annotated[str, Meta(max_length=64)]
    """`camera:NAME`, `inference` or `poses`."""
    pid: int
    host: str
    clock: str
    version: str


class Armed(_Tagged, frozen=True, kw_only=True, tag="armed"):
    """Everything is open and warm; the process waits for the start."""

    stream: StreamInfo | None = None
    """Of a camera: what it publishes and where."""
    endpoint: str | None = None
    """Of inference: where poses are published."""
    camera: CameraDetails | None = None
    """Of a camera, for the session's record."""
    inference: InferenceDetails | None = None
    """Of inference, for the session's record."""


class Status(_Tagged, frozen=True, kw_only=True, tag="status"):
    """Where the process stands."""

    counters: bytes = b""
    """MessagePack of its struct in `posestream.stream.wire.counters`; empty while it has nothing to count."""


class Notice(_Tagged, frozen=True, kw_only=True, tag="notice"):
    """Something that a person should know now."""

    event: Event


class Finished(_Tagged, frozen=True, kw_only=True, tag="finished"):
    """The process has closed its files and ends."""

    counters: bytes = b""


class Failed(_Tagged, frozen=True, kw_only=True, tag="failed"):
    """The process can't go on; what it wrote is closed and valid."""

    kind: Literal["usage", "failure"]
    """`usage`: what it was asked for is wrong; `failure`: something broke."""
    text: Text
    counters: bytes = b""
    traceback: Annotated[str, Meta(max_length=MAX_TRACEBACK)] = ""
    """For developers: where it broke."""


class Configure(_Tagged, frozen=True, kw_only=True, tag="configure"):
    """Open and warm up what the job names, then say that you are armed."""

    job: Job


class Start(_Tagged, frozen=True, kw_only=True, tag="start"):
    """Begin: the session folder is there and everybody is armed."""

    poses: str | None = None
    """Where poses are published."""


class Stop(_Tagged, frozen=True, kw_only=True, tag="stop"):
    """Take in nothing new, finish what is under way, close and end."""

    reason: Text
    refused: bool = False
    """Whether the run never wanted this process."""
    frames: dict[str, int] = {}
    """Frames that each camera published, for inference, which may have missed the last of them."""


Report = Join | Armed | Status | Notice | Finished | Failed
Command = Configure | Start | Stop


class ControlLink:
    """A process's side of the control connection.

    Parameters
    ----------
    context
        The process's context.
    endpoint
        The supervisor's address.
    join
        Who this is.
    keys
        Where the supervisor asks for them.
    far
        Whether the supervisor is on another machine, which can vanish without a word.
    """

    def __init__(
        self,
        context: "zmq.Context[Any]",
        endpoint: str,
        join: Join,
        keys: Keys | None = None,
        *,
        far: bool = False,
    ) -> None:
        self._endpoint, self._join, self._keys = endpoint, join, keys
        self._socket = context.socket(zmq.DEALER)
        limit_parts(self._socket, MAX_CONTROL_BYTES, keys)
        self._socket.setsockopt(zmq.LINGER, 2_000)
        self._socket.setsockopt(zmq.ROUTING_ID, uuid.uuid4().bytes)
        if far:
            for option, value in _VANISHED.items():
                self._socket.setsockopt(option, value)
        self._monitor = self._socket.get_monitor_socket(_EVENTS)
        self._lost_since: float | None = time.monotonic()
        self._retry_at: float | None = None
        self._commanded = False
        self._decoder = msgspec.msgpack.Decoder(Command)
        self.malformed: Counter[str] = Counter()
        """Messages dropped because they were no commands, by reason."""
        self.answered = False
        """Whether any program has been found at the address."""
        self._refusals = 0
        connect(self._socket, endpoint, keys)

    def send(self, report: Report) -> None:
        """Tell the supervisor; dropped where it is gone and the queue is full."""
        try:
            self._socket.send(msgspec.msgpack.encode(report), zmq.NOBLOCK)
        except zmq.Again:
            return

    def receive(self, timeout_s: float) -> Command | None:
        """Wait for the supervisor's next command, `timeout_s` seconds at most."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        deadline = time.monotonic() + timeout_s
        while True:
            ready = dict(poller.poll(max(0, math.ceil((deadline - time.monotonic()) * 1e3))))
            if self._monitor in ready:
                self._note(int(recv_monitor_message(self._monitor)["event"]))
            if self._socket in ready and (command := self._decode(self._socket.recv_multipart())) is not None:
                self._commanded = True
                return command
            if self._retry_at is not None and time.monotonic() >= self._retry_at:
                self._retry()
            if time.monotonic() >= deadline:
                return None

    def _note(self, event: int) -> None:
        if event == zmq.EVENT_CONNECTED:
            self.answered = True
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._lost_since, self._refusals = None, 0
            if not self._commanded:  # whoever was told before may have been the run before this one
                self.send(self._join)
        else:
            self._lost_since = self._lost_since or time.monotonic()
            if event in _REFUSALS:
                self._refusals = REFUSED
                self._retry_at = time.monotonic() + RETRY_S
            elif event != zmq.EVENT_DISCONNECTED:
                self._refusals += 1

    def _retry(self) -> None:
        self._retry_at = None
        with contextlib.suppress(zmq.ZMQError):  # it may know the address no more
            self._socket.disconnect(self._endpoint)
        connect(self._socket, self._endpoint, self._keys)

    def _decode(self, parts: list[bytes]) -> Command | None:
        if len(parts) != 1:
            self.malformed["parts"] += 1
            return None
        try:
            command: Command = self._decoder.decode(parts[0])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.malformed["command"] += 1
            return None
        return command

    @property
    def refused(self) -> bool:
        """Whether a program is there that does not let this process in: keys that differ, or on one side only."""
        return self._refusals >= REFUSED

    @property
    def lost_s(self) -> float:
        """Seconds for which there has been no connection; 0 while there is one."""
        return 0.0 if self._lost_since is None else time.monotonic() - self._lost_since

    def close(self) -> None:
        """Close the connection; the last reports go out within two seconds."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()


class ControlServer:
    """The supervisor's side.

    Parameters
    ----------
    context
        The process's context.
    endpoint
        Address to bind.
    keys
        Needed where processes on other machines join.

    Raises
    ------
    EndpointError
        Where the address can't be bound.
    """

    def __init__(self, context: "zmq.Context[Any]", endpoint: str, keys: Keys | None = None) -> None:
        self._socket = context.socket(zmq.ROUTER)
        limit_parts(self._socket, MAX_CONTROL_BYTES, keys)
        self._socket.setsockopt(zmq.LINGER, 1_000)
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a connection made again replaces the one that broke
        self._decoder = msgspec.msgpack.Decoder(Report)
        self.malformed: Counter[str] = Counter()
        """Messages dropped because they were no reports, by reason."""
        self._door = Door(self._socket)
        try:
            self.endpoint = bind(self._socket, endpoint, keys)
        except BaseException:
            self._door.close()
            self._socket.close(0)
            raise

    def receive(self, timeout_s: float) -> tuple[bytes, Report] | None:
        """Wait for a report, `timeout_s` seconds at most; gives the sender's identity with it."""
        self._door.look()
        deadline = time.monotonic() + timeout_s
        while self._socket.poll(max(0, math.ceil((deadline - time.monotonic()) * 1e3))):
            parts = self._socket.recv_multipart()
            report = self._decode(parts)
            if report is not None:
                return parts[0], report
            if time.monotonic() >= deadline:
                break
        return None

    def _decode(self, parts: list[bytes]) -> Report | None:
        if len(parts) != 2:
            self.malformed["parts"] += 1
            return None
        try:
            report: Report = self._decoder.decode(parts[1])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.malformed["report"] += 1
            return None
        return report

    def send(self, identity: bytes, command: Command) -> None:
        """Send a command; nothing happens where that process is gone."""
        self._socket.send_multipart([identity, msgspec.msgpack.encode(command)])

    def close(self) -> None:
        """Close the socket."""
        if not self._socket.closed:
            remove_socket(self.endpoint)
        self._door.close()
        self._socket.close()

    @property
    def refused(self) -> int:
        """Connections that were not let in."""
        return self._door.refused
