"""CURVE keys: who may connect when a socket leaves the machine.

A lab makes one folder of keys (`create_keys`) and copies it to each of its machines. It holds one pair for the side
that binds and one for the side that connects; a client whose public key is not in the folder is refused before it
sees a byte.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from posestream.stream.wire.errors import InputError

__all__ = ["Keys", "KeysError", "create_keys", "load_keys"]

SERVER, CLIENT = "server", "client"


class KeysError(InputError):
    """A folder of keys that can't be used."""


@dataclass(frozen=True)
class Keys:
    """The two pairs of a folder of keys, Z85 text."""

    folder: Path
    server_public: bytes
    server_secret: bytes
    client_public: bytes
    client_secret: bytes

    def serve(self, socket: "zmq.Socket[Any]") -> None:
        """Let only clients with one of the folder's keys connect to a socket that is about to bind."""
        _authenticator(socket.context, self.folder)
        socket.curve_secretkey, socket.curve_publickey = self.server_secret, self.server_public
        socket.curve_server = True

    def connect(self, socket: "zmq.Socket[Any]") -> None:
        """Give a socket that is about to connect the client's pair and the server's public key."""
        socket.curve_secretkey, socket.curve_publickey = self.client_secret, self.client_public
        socket.curve_serverkey = self.server_public


_authenticators: dict[int, ThreadAuthenticator] = {}


def _authenticator(context: "zmq.Context[Any]", folder: Path) -> None:
    # ZeroMQ asks one handler a context (ZAP, RFC 27); it lives as long as the process.
    if context.underlying not in _authenticators:
        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        _authenticators[context.underlying] = authenticator
    _authenticators[context.underlying].configure_curve(domain="*", location=str(folder))


def stop_authenticator(context: "zmq.Context[Any]") -> None:
    """End the handler of a context, so that the context can be terminated."""
    authenticator = _authenticators.pop(context.underlying, None)
    if authenticator is not None:
        authenticator.stop()


def create_keys(folder: Path) -> None:
    """Make a new folder of keys.

    Raises
    ------
    KeysError
        Where the folder holds keys already, which are never overwritten, or can't be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.glob("*.key*")):
            raise KeysError(f"{folder} holds keys already; choose another folder, or remove them first")
        for name in (SERVER, CLIENT):
            _, secret = zmq.auth.create_certificates(folder, name)
            Path(secret).chmod(0o600)
    except OSError as error:
        raise KeysError(str(error)) from error


def load_keys(folder: Path) -> Keys:
    """Read a folder of keys.

    Raises
    ------
    KeysError
        Where a file is missing or is not a key.
    """
    if not folder.is_dir():
        raise KeysError(
            f"there is no folder of keys at {folder.absolute()}; copy the one that the other machine has, or make one "
            f"with `posestream keys {folder}`"
        )
    pairs: list[bytes] = []
    for name in (SERVER, CLIENT):
        file = folder / f"{name}.key_secret"
        try:
            public, secret = zmq.auth.load_certificate(file)
        except (OSError, ValueError) as error:
            raise KeysError(
                f"{file} can't be read as a key ({error}); `posestream keys {folder}` makes keys"
            ) from error
        if secret is None:
            raise KeysError(f"{file} holds no secret key")
        pairs += [public, secret]
    return Keys(folder, *pairs)
