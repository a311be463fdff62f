"""Addresses of sockets: what is well formed, what other machines can reach, and the files of those that are local."""

import contextlib
import errno
import ipaddress
import os
import re
import socket as system_socket
import stat
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil

from posestream.stream.wire.errors import InputError
from posestream.stream.wire.keys import Keys

__all__ = [
    "EndpointError",
    "check_endpoint",
    "check_reachable",
    "is_loopback",
    "local_endpoint",
    "refuse_taken_path",
    "remove_leftovers",
    "remove_socket",
]

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


def refuse_taken_path(endpoint: str) -> None:
    """Refuse an `ipc` address at which another program listens.

    Raises
    ------
    EndpointError
        Where one does.
    """
    # libzmq would unlink another program's ipc socket and bind its own in silence.
    path = endpoint.removeprefix("ipc://")
    if path == endpoint or not Path(path).exists():
        return
    with system_socket.socket(system_socket.AF_UNIX, system_socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
        probe.connect(path)
        raise EndpointError(f"{endpoint} is in use by another program; end it or choose another address")
