"""Lets a camera that can wait, a video played for every frame, go as fast as inference takes its frames."""

import time
from typing import Any

import zmq

from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import MAX_HEADER_BYTES, SKIPPED, Event, MessageDecoder, Pose
from posestream.stream.wire.sockets import subscriber

__all__ = ["InferencePacing"]

QUEUE_BYTES, MESSAGE_BYTES = 16 * 2**20, 1_024


class InferencePacing:
    """Reads the pose stream to know which frames have come out of inference.

    A frame has come out when its pose was published, or an event said that it was skipped; a later frame's word
    covers all before it, so a lost message costs nothing.

    Parameters
    ----------
    context
        The process's context.
    endpoint
        Where poses are published.
    session, camera
        Whose poses count.
    credit
        Frames that may be on their way through inference.
    keys
        Where the publisher asks for them.
    """

    def __init__(
        self, context: "zmq.Context[Any]", endpoint: str, session: str, camera: str, credit: int, keys: Keys | None
    ) -> None:
        self._socket = subscriber(
            context,
            [endpoint],
            [f"pose/{camera}/", f"event/{camera}/"],
            queue_bytes=QUEUE_BYTES,
            message_bytes=MESSAGE_BYTES,
            part_bytes=MAX_HEADER_BYTES,
            keys=keys,
        )
        self._decoder = MessageDecoder()
        self._session = session
        self._credit = credit
        self._out = 0

    @property
    def malformed(self) -> int:
        """Messages dropped because the protocol does not allow them."""
        return self._decoder.malformed.total()

    def wait(self, frame_seq: int, timeout_s: float) -> bool:
        """Wait until frame `frame_seq` may go, `timeout_s` seconds at most; says whether it may."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._read(deadline)
            if frame_seq - self._out < self._credit:
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._socket.poll(max(1, int(remaining * 1e3)))

    def _read(self, deadline: float) -> None:
        while self._socket.poll(0):
            message = self._decoder.decode(self._socket.recv_multipart())
            match message:
                case Pose(header=header) if header.session == self._session:
                    self._out = max(self._out, header.frame_seq + 1)
                case Event(name=name, session=session, data=data) if name == SKIPPED and session == self._session:
                    last = data.get("last_seq")
                    self._out = max(self._out, last + 1 if isinstance(last, int) else 0)
            if time.monotonic() > deadline:
                return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(0)
