"""Sockets of the frame stream and the pose stream: one publisher, any number of subscribers.

The publisher never waits for a subscriber. `XPUB_NODROP` makes libzmq say so (`EAGAIN`) when some subscriber's queue is
full; the message is then counted as unsent and sent once more the lossy way, so that the subscribers that keep up still
get it. (`docs/decisions/0002` says what this count can't see.) `CONFLATE` is not used: it keeps one part only of a
multipart message.
"""

import errno
import platform
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from posestream.stream.wire.endpoints import EndpointError, check_endpoint, refuse_taken_path, remove_socket
from posestream.stream.wire.keys import Keys

__all__ = ["RECONNECT_S", "Door", "Publisher", "bind", "connect", "limit_parts", "subscriber"]

MAX_SUBSCRIPTION_BYTES = 1_024
"""Topics are 80 bytes at most, but the limit holds for the commands of the CURVE handshake too, of some 300."""
MAX_PART_BYTES = 512 * 2**20
"""The largest part that a socket takes from the network where nothing says how large they are; libzmq closes a
connection that announces more."""
CURVE_BYTES = 33
"""What encryption adds to each part on its way, which a limit on parts counts: the word MESSAGE with its length (8), a
nonce (8), the authenticator (16) and flags (1). CurveZMQ, RFC 26; measured with libzmq 4.3.5."""
RECONNECT_S = 0.2
"""Seconds after which a subscriber that waits for its publisher tries again, at the latest."""
CONNECT_MS = 3_000
"""After this an attempt to connect that nobody answers is given up and made anew. Without it the system decides, which
waits for minutes where a firewall drops packets, and then misses a publisher that has long been there."""


def limit_parts(socket: "zmq.Socket[Any]", part_bytes: int, keys: Keys | None) -> None:
    """Let a socket close each connection that announces a longer part, before any memory is taken for it.

    Parameters
    ----------
    socket
        A socket that is about to bind or connect: the limit holds for connections made afterwards.
    part_bytes
        The longest part that a program on the other side may send.
    keys
        Those that the socket will use: an encrypted part is longer on its way.
    """
    socket.setsockopt(zmq.MAXMSGSIZE, part_bytes if keys is None else part_bytes + CURVE_BYTES)


def bind(socket: "zmq.Socket[Any]", endpoint: str, keys: Keys | None) -> str:
    """Bind a socket and give the address that it really has, a `*` port filled in.

    Raises
    ------
    EndpointError
        Where the address is in use, is not this machine's, or needs keys.
    """
    check_endpoint(endpoint, bind=True, keys=keys)
    if endpoint.startswith("ipc://"):
        refuse_taken_path(endpoint)
    if keys is not None:
        keys.serve(socket)
    if "://[" in endpoint:
        socket.ipv6 = True
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise EndpointError(f"{endpoint} {_why_unbound(error)}") from error
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _why_unbound(error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return "is in use by another program; end that program or choose another address"
    if error.errno in {zmq.EADDRNOTAVAIL, errno.ENODEV}:
        return (
            f"is no address of this machine ({platform.node()}); the address must be that of the machine that binds it"
        )
    return f"can't be used: {error.strerror}; choose another address"


def connect(socket: "zmq.Socket[Any]", endpoint: str, keys: Keys | None) -> None:
    """Connect a socket; it connects as soon as somebody binds, and again after each break.

    Raises
    ------
    EndpointError
        Where the address is malformed.
    """
    check_endpoint(endpoint, bind=False, keys=keys)
    if keys is not None:
        keys.connect(socket)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    if "://[" in endpoint:
        socket.ipv6 = True
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise EndpointError(f"{endpoint} can't be connected to: {error.strerror}") from error


class Door:
    """Counts those that connect to a socket and are not let in: no ZeroMQ, another mechanism, no key or a wrong one.

    Parameters
    ----------
    socket
        A socket that is about to bind.
    """

    def __init__(self, socket: "zmq.Socket[Any]") -> None:
        self._socket = socket
        address = f"inproc://door-{uuid.uuid4().hex}"
        socket.monitor(address, zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._monitor = socket.context.socket(zmq.PAIR)
        # With a bound, libzmq's own thread would stand still where nobody looks for a while.
        self._monitor.setsockopt(zmq.RCVHWM, 0)
        self._monitor.connect(address)
        self.refused = 0
        """Connections that were not let in, or are still at the door."""

    def look(self) -> None:
        """Take in what happened since the last look."""
        while self._monitor.poll(0):
            self.refused += 1 if recv_monitor_message(self._monitor)["event"] == zmq.EVENT_ACCEPTED else -1

    def close(self) -> None:
        """Close before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(0)


class Publisher:
    """Sends messages to whoever subscribed, without ever waiting for one of them.

    Parameters
    ----------
    context
        The process's context.
    endpoint
        Address to bind.
    queue_bytes
        Bytes that may wait for one subscriber.
    message_bytes
        Size of one message, from which the queue's length in messages follows.
    keys
        Needed for an address that other machines can reach.

    Raises
    ------
    EndpointError
        Where the address can't be bound.
    """

    def __init__(
        self,
        context: "zmq.Context[Any]",
        endpoint: str,
        *,
        queue_bytes: int,
        message_bytes: int,
        keys: Keys | None = None,
    ) -> None:
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, max(2, queue_bytes // message_bytes))
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        # Subscribers send subscriptions alone. An XPUB socket takes all that waits in its pipes into a queue without a
        # bound, so the pipes are short, and more is read at a time than they hold.
        limit_parts(self._socket, MAX_SUBSCRIPTION_BYTES, keys)
        self._socket.setsockopt(zmq.RCVHWM, 100)
        self._socket.setsockopt(zmq.LINGER, 2_000)
        self._door = Door(self._socket)
        try:
            self.endpoint = bind(self._socket, endpoint, keys)
        except EndpointError:
            self._door.close()
            self._socket.close(0)
            raise
        self.sent = 0
        """Messages handed to the socket."""
        self.unsent = 0
        """Messages for which some subscriber's queue was found full. While that subscriber stays stuck libzmq passes it
        over without a word, so this is the least that was lost; each subscriber knows its own from the numbers."""
        self.malformed = 0
        """What came from subscribers and was no subscription; libzmq takes each part of a message by itself."""
        self.subscriptions = 0
        """Subscriptions that hold now."""

    def send(self, parts: Sequence[bytes | memoryview]) -> bool:
        """Send one message.

        Parameters
        ----------
        parts
            Parts of 64 KiB and more are not copied: their memory must not change after this.

        Returns
        -------
        bool
            False where some subscriber's queue was full; the others got it.
        """
        self.sent += 1
        if self._try(parts):
            return True
        # libzmq looks at what subscribers have taken once a millisecond only, unless it is asked for its events.
        self._socket.getsockopt(zmq.EVENTS)
        if self._try(parts):
            return True
        self.unsent += 1
        self._socket.setsockopt(zmq.XPUB_NODROP, 0)
        self._socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        return False

    def _try(self, parts: Sequence[bytes | memoryview]) -> bool:
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def new_subscriptions(self, at_most: int = 1_000) -> int:
        """Take in what subscribers asked for since the last call, and say how many subscriptions are new."""
        new = 0
        self._door.look()
        for _ in range(at_most):
            try:
                message = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            if message[:1] == b"\x01":
                new += 1
                self.subscriptions += 1
            elif message[:1] == b"\x00":
                self.subscriptions -= 1
            else:
                self.malformed += 1
        return new

    def close(self) -> None:
        """Close the socket; what waits for subscribers that still read goes out within two seconds."""
        if not self._socket.closed:
            remove_socket(self.endpoint)
        self._door.close()
        self._socket.close()

    @property
    def refused(self) -> int:
        """Connections that were not let in."""
        return self._door.refused


def subscriber(
    context: "zmq.Context[Any]",
    endpoints: Iterable[str],
    topics: Iterable[str] = ("",),
    *,
    queue_bytes: int,
    message_bytes: int,
    part_bytes: int = MAX_PART_BYTES,
    keys: Keys | None = None,
) -> "zmq.Socket[bytes]":
    """Make a socket that subscribes to topics at some addresses.

    Parameters
    ----------
    context
        The process's context.
    endpoints
        Addresses of publishers, which need not be there yet.
    topics
        Beginnings of topics, such as `pose/top/`; all by default.
    queue_bytes, message_bytes
        Bytes that may wait to be read, and the size of one message: together the queue's length.
    part_bytes
        The largest part of a message; a connection that announces a larger one is closed before it is taken in.
    keys
        Where the publishers ask for them.

    Raises
    ------
    EndpointError
        Where an address is malformed.
    """
    socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
    # Limits hold for connections made after they were set.
    socket.setsockopt(zmq.RCVHWM, max(2, queue_bytes // message_bytes))
    limit_parts(socket, part_bytes, keys)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, round(RECONNECT_S * 1e3))
    for topic in topics:
        socket.setsockopt_string(zmq.SUBSCRIBE, topic)
    try:
        for endpoint in endpoints:
            connect(socket, endpoint, keys)
    except EndpointError:
        socket.close(0)
        raise
    return socket
