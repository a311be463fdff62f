"""The receiving thread: frames from all cameras into the batcher, and the count of what never arrived."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import zmq

from posestream.inference.live.batcher import Batcher
from posestream.inference.live.pose_publisher import PosePublisher
from posestream.stream.wire.clock import monotonic_ns
from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import (
    END,
    MAX_HEADER_BYTES,
    Event,
    Frame,
    Hello,
    MessageDecoder,
    Pose,
    StreamInfo,
)
from posestream.stream.wire.sockets import subscriber

__all__ = ["Receiver"]

QUEUE_BYTES = 128 * 2**20
POLL_MS = 50


class Receiver:
    """Subscribes to cameras; begins at once, so that the cameras' greetings can be waited for.

    Parameters
    ----------
    context
        The process's context.
    session
        The session's id; messages of another are counted and dropped.
    streams
        The cameras.
    batcher
        Where frames go.
    publisher
        Greeted and given skipped frames between messages.
    keys
        Where the cameras' publishers ask for them.

    Raises
    ------
    EndpointError
        Where an address is malformed.
    """

    def __init__(
        self,
        context: "zmq.Context[Any]",
        session: str,
        streams: Sequence[StreamInfo],
        batcher: Batcher,
        publisher: PosePublisher,
        keys: Keys | None,
    ) -> None:
        self._session, self._batcher, self._publisher = session, batcher, publisher
        self._shapes = {info.camera: (info.height, info.width, info.pixel_format) for info in streams}
        self._socket = subscriber(
            context,
            [info.endpoint for info in streams],
            queue_bytes=QUEUE_BYTES,
            message_bytes=max(info.frame_bytes for info in streams),
            part_bytes=max(MAX_HEADER_BYTES, *(info.frame_bytes for info in streams)),
            keys=keys,
        )
        self._decoder = MessageDecoder()
        self._next_seq = dict.fromkeys(self._shapes, 0)
        self._heard: set[str] = set()
        self._ended: set[str] = set()
        self._stopping = threading.Event()
        self.received: Counter[str] = Counter()
        """Frames, by camera."""
        self.foreign: Counter[str] = Counter()
        """Messages dropped because they were of another session, or not of the announced stream."""
        self.error: Exception | None = None
        """What ended the thread early."""
        self._thread = threading.Thread(target=self._run, name="receiver")
        self._thread.start()

    @property
    def cameras(self) -> list[str]:
        """The cameras that it subscribes to."""
        return list(self._shapes)

    @property
    def malformed(self) -> Counter[str]:
        """Messages dropped because the protocol does not allow them, by reason."""
        return self._decoder.malformed

    @property
    def unheard(self) -> list[str]:
        """Cameras of which nothing has been heard yet."""
        return [camera for camera in self._shapes if camera not in self._heard]

    @property
    def ended(self) -> bool:
        """Whether every camera has said that it ended."""
        return self._ended >= set(self._shapes)

    def close(self) -> None:
        """End the thread and close the socket; safe to call twice."""
        self._stopping.set()
        self._thread.join()

    def account(self, published: Mapping[str, int]) -> None:
        """Note as lost what was published and has not arrived, by camera; after `close`."""
        for camera in self._shapes:
            self._account(camera, published.get(camera, 0))

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._socket.poll(POLL_MS):
                    parts = self._socket.recv_multipart(copy=False)
                    self._take([part.buffer for part in parts], monotonic_ns())
                self._publisher.greet()
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            self.error = error
        finally:
            self._socket.close(0)

    def _take(self, parts: Sequence[memoryview], received_ns: int) -> None:
        message = self._decoder.decode(parts)
        match message:
            case None:
                return
            case _ if self._session_of(message) != self._session:
                self.foreign["session"] += 1
            case Frame(header=header):
                if self._shapes.get(header.camera) != (header.height, header.width, header.pixel_format):
                    self.foreign["stream"] += 1
                    return
                self._count(header.camera, header.frame_seq)
                self.received[header.camera] += 1
                self._batcher.put(message, received_ns)
            case Pose():
                self.foreign["kind"] += 1
            case Hello(source=source):
                self._heard.add(source)
            case Event(name=name, source=source, data=data) if name == END:
                frames = data.get("frames")
                if isinstance(frames, int) and source in self._shapes:
                    self._account(source, frames)
                self._ended.add(source)

    @staticmethod
    def _session_of(message: Any) -> str:
        header = message.header if isinstance(message, Frame | Pose) else message
        return str(getattr(header, "session", ""))

    def _count(self, camera: str, frame_seq: int) -> None:
        self._account(camera, frame_seq)
        self._next_seq[camera] = max(self._next_seq[camera], frame_seq + 1)

    def _account(self, camera: str, frames: int) -> None:
        expected = self._next_seq[camera]
        if frames > expected:
            self._batcher.lost_on_wire(camera, expected, frames - 1)
            self._next_seq[camera] = frames
