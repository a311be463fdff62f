"""Sockets of the frame stream and the pose stream: one publisher, any number of subscribers.

The publisher never waits for a subscriber. `XPUB_NODROP` makes libzmq say so (`EAGAIN`) when some subscriber's queue is
full; the message is then counted as unsent and sent once more the lossy way, so that the subscribers that keep up still
get it. (`docs/decisions/0002` says what this count can't see.) `CONFLATE` is not used: it keeps one part only of a
multipart message.
"""

import contextlib
import errno
import ipaddress
import os
import platform
import re
import socket as system_socket
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import zmq
from zmq.utils.monitor import recv_monitor_message

from posestream.stream.wire.errors import InputError
from posestream.stream.wire.keys import Keys

__all__ = [
    "RECONNECT_S",
    "Door",
    "EndpointError",
    "Publisher",
    "check_endpoint",
    "local_endpoint",
    "remove_leftovers",
    "remove_socket",
    "subscriber",
]

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
YOUNG_S = 10.0
"""Seconds between the making of a socket's file and the moment at which somebody must listen at it."""

_MADE_BY = re.compile(r"-(\d+)-[0-9a-f]{8}$")
_ENDPOINT = re.compile(r"^(?:tcp://(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s]+):(?P<port>\d{1,5}|\*)|ipc://(?P<path>\S+))$")


class EndpointError(InputError):
    """An address that can't be bound or connected to; the text is for people."""


def local_endpoint(purpose: str) -> str:
    """Address of this machine alone, unused until now: `ipc` on POSIX, a free loopback port on Windows.

    Raises
    ------
    EndpointError
        Where the folder of such sockets is not this user's alone.
    """
    if sys.platform == "win32":  # pyzmq's wheels have no ipc there
        return "tcp://127.0.0.1:*"
    folder = _socket_folder()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise EndpointError(
                f"{folder} is another user's, or no folder: remove it, or set TMPDIR to a folder of yours"
            )
        if found.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise EndpointError(f"{folder}, the folder of local sockets, can't be used: {error.strerror}") from error
    # A second bind would take an ipc path over in silence, so each is new; the limit is 103 characters on macOS.
    return f"ipc://{folder / f'{purpose[:16]}-{os.getpid()}-{uuid.uuid4().hex[:8]}'}"


def _socket_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"posestream-{os.getuid() if sys.platform != 'win32' else ''}"


def remove_leftovers() -> None:
    """Remove local sockets of this user's that processes left which were killed; nobody may listen at them.

    Their names say which process made them. One that runs is left in peace; a process of another container, which may
    share the folder, is not seen, so each socket is tried, too.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):  # no folder, or one that is not ours
        for path in _socket_folder().iterdir():
            found, made_by = path.lstat(), _MADE_BY.search(path.name)
            if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.getuid():
                continue
            if (made_by is None or not _runs(int(made_by[1]))) and _refuses(path):
                path.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that is dead and that nobody has fetched yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _refuses(path: Path) -> bool:
    """Whether nobody listens at a socket; one that was made a moment ago may yet be listened at."""
    if abs(time.time() - path.lstat().st_mtime) < YOUNG_S:
        return False
    with system_socket.socket(system_socket.AF_UNIX, system_socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def remove_socket(endpoint: str) -> None:
    """Remove the file of an `ipc` address that was bound here; before its socket is closed, while it is surely ours."""
    if endpoint.startswith("ipc://"):
        with contextlib.suppress(OSError):
            Path(endpoint.removeprefix("ipc://")).unlink()


def check_endpoint(endpoint: str, *, bind: bool, keys: Keys | None) -> None:
    """See whether an address is well formed and may be used.

    Raises
    ------
    EndpointError
        Where it is malformed, or would open a socket to other machines without keys.
    """
    match = _ENDPOINT.match(endpoint)
    if match is None or int(match["port"] if (match["port"] or "*") != "*" else 0) > 65_535:
        raise EndpointError(f'"{endpoint}" is no address; write tcp://127.0.0.1:5557 or ipc:///tmp/name')
    if match["path"] and sys.platform == "win32":
        raise EndpointError(f'"{endpoint}": Windows has no ipc addresses; write tcp://127.0.0.1:5557')
    if bind and match["host"] and keys is None and not is_loopback(endpoint):
        raise EndpointError(
            f'"{endpoint}" is open to other machines and needs keys: make them with `posestream keys FOLDER`, copy the '
            'folder to both machines and set keys = "FOLDER" under [network]'
        )


def is_loopback(endpoint: str) -> bool:
    """Whether a `tcp` address is one that no other machine can reach."""
    match = _ENDPOINT.match(endpoint)
    host = (match["host"] or "") if match is not None else ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_reachable(endpoint: str) -> None:
    """See whether an address that is bound here, or there, can be one that another machine connects to.

    Raises
    ------
    EndpointError
        Where it can't.
    """
    match = _ENDPOINT.match(endpoint)
    if match is not None and match["path"]:
        raise EndpointError(f'"{endpoint}" is an address of one machine alone; write tcp:// and the machine\'s address')
    if match is not None and match["host"] in {"*", "0.0.0.0", "[::]"}:  # noqa: S104 - it is refused
        raise EndpointError(
            f'"{endpoint}" names no machine that another could connect to; write the address of the machine that binds '
            "it, such as tcp://192.168.1.10:5561"
        )


def _refuse_taken_path(endpoint: str) -> None:
    # libzmq would unlink another program's ipc socket and bind its own in silence.
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not Path(path).exists():
        return
    with system_socket.socket(system_socket.AF_UNIX, system_socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(path)
        raise EndpointError(f"{endpoint} is in use by another program; end it or choose another address")


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
        _refuse_taken_path(endpoint)
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
