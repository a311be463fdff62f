"""Subscribing to poses and frames from any process, on this machine or another.

    with PoseSubscriber() as poses:
        for pose in poses:
            print(pose.header.camera, pose.keypoints)

or, in a coroutine, with `async with` and `async for`.

A subscriber counts what it lost itself: each message carries a number, and a jump is a loss.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, Self, TypeVar

import zmq

from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import (
    END,
    MAX_HEADER_BYTES,
    Event,
    Frame,
    Hello,
    Message,
    MessageDecoder,
    Pose,
    PoseHeader,
)
from posestream.stream.wire.sockets import MAX_PART_BYTES, subscriber

__all__ = ["DEFAULT_ENDPOINT", "FrameSubscriber", "PoseSubscriber"]

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5557"
"""Where poses are published unless the rig says otherwise."""

POSE_BYTES = 2_048
"""Of a usual pose."""
EVENTS_KEPT = 1_000
SLICE_S = 0.1
Mode = Literal["every", "latest"]
Item = TypeVar("Item", Pose, Frame)


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """How a subscriber reads, whatever it reads."""

    camera: str | None = None
    """None: all of them."""
    mode: Mode
    timeout_s: float | None
    follow: bool
    queue_bytes: int
    message_bytes: int
    """Of a usual message, from which the queue's length follows."""
    part_bytes: int
    """Of the largest part of a message that is taken in."""


class _Subscriber(Generic[Item]):
    _kind: type[Item]
    _topic: str

    def __init__(
        self, endpoint: str, settings: _Settings, *, keys: Keys | None, context: "zmq.Context[Any] | None"
    ) -> None:
        if settings.mode not in {"every", "latest"}:
            raise ValueError(f'mode is "every" or "latest", not {settings.mode!r}')
        source = f"{settings.camera}/" if settings.camera else ""
        # Hellos and events of all sources are few; the camera's own filter would miss the end of a pose stream.
        topics = [f"{self._topic}/{source}", "hello/", "event/"]
        self._socket = subscriber(
            context or zmq.Context.instance(),
            [endpoint],
            topics,
            queue_bytes=settings.queue_bytes,
            message_bytes=settings.message_bytes,
            part_bytes=settings.part_bytes,
            keys=keys,
        )
        self._mode, self._timeout_s, self._follow = settings.mode, settings.timeout_s, settings.follow
        self._decoder = MessageDecoder()
        self._lock = threading.Lock()
        self._expected: dict[str, tuple[str, int]] = {}  # by camera: its session, and the number that comes next
        self._ended = False
        self._newest: Item | None = None
        self._kept: deque[Item] = deque()  # what came while the hello was waited for
        self.hello: Hello | None = None
        """Who publishes and what, once it was heard: names of the body parts, cameras, clock."""
        self.received = 0
        """Messages of the subscribed kind that arrived."""
        self.lost: Counter[str] = Counter()
        """Messages that were published and did not arrive here, by camera."""
        self.passed_over = 0
        """Messages that arrived and were not given out because a newer one was there (`latest`)."""
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        """The last events, oldest first."""

    @property
    def malformed(self) -> Counter[str]:
        """Messages dropped because the protocol does not allow them, by reason."""
        return self._decoder.malformed

    @property
    def ended(self) -> bool:
        """Whether the publisher has said that its session ended."""
        return self._ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)  # a wait in another thread may hold the socket for a moment

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        with self._lock:
            self._socket.close(0)

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        """Wait for the next message.

        Raises
        ------
        TimeoutError
            Where none came within `timeout_s`.
        StopIteration
            When the session ended (unless the subscriber follows) or the subscriber was closed.
        """
        deadline = self._deadline()
        while True:
            item = self._take(SLICE_S if deadline is None else min(SLICE_S, deadline - time.monotonic()))
            if item is not None:
                return item
            if self._over():
                raise StopIteration
            self._check(deadline)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        """Wait for the next message without holding up the event loop; otherwise as `__next__`.

        Raises
        ------
        TimeoutError
            Where none came within `timeout_s`.
        StopAsyncIteration
            When the session ended (unless the subscriber follows) or the subscriber was closed.
        """
        deadline = self._deadline()
        while True:
            # A thread, not zmq.asyncio: the default event loop on Windows can't watch sockets of ZeroMQ.
            item = await asyncio.to_thread(self._take, SLICE_S)
            if item is not None:
                return item
            if self._over():
                raise StopAsyncIteration
            self._check(deadline)

    def latest(self) -> Item | None:
        """Give the newest message that has arrived so far, without waiting; none before the first."""
        with self._lock:
            while (item := self._read(0)) is not None:
                self._newest = item
        return self._newest

    def wait_for_hello(self, timeout_s: float) -> Hello:
        """Wait until the publisher was heard.

        Raises
        ------
        TimeoutError
            Where it was not heard within `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while self.hello is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody publishes there, or not yet: nothing heard for {timeout_s:g} s")
            with self._lock:
                if self._socket.closed:
                    raise TimeoutError("the subscriber was closed")
                if self._socket.poll(50):
                    self._kept.extend(filter(None, [self._message()]))
        return self.hello

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def _over(self) -> bool:
        return (self._ended and not self._follow) or self._socket.closed

    def _check(self, deadline: float | None) -> None:
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"no {self._topic} within {self._timeout_s:g} s")

    def _take(self, timeout_s: float) -> Item | None:
        with self._lock:
            item = self._read(max(0.0, timeout_s))
            if item is None or self._mode == "every":
                return item
            while (newer := self._read(0)) is not None:
                self.passed_over += 1
                item = newer
            return item

    def _read(self, timeout_s: float) -> Item | None:
        if self._kept:
            return self._kept.popleft()
        deadline = time.monotonic() + timeout_s
        while not self._socket.closed:
            if not self._socket.poll(max(0, round((deadline - time.monotonic()) * 1e3))):
                return None
            item = self._message()
            if item is not None:
                return item
            if self._ended and not self._follow:
                return None
            if time.monotonic() > deadline + SLICE_S:  # a stream of messages that are not asked for ends no wait
                return None
        return None

    def _message(self) -> Item | None:
        parts = self._socket.recv_multipart(copy=False)
        message = self._decoder.decode([part.buffer for part in parts])
        if isinstance(message, self._kind):
            self._count(message)
            self._ended = False
            return message
        self._note(message)
        return None

    def _count(self, item: Item) -> None:
        header = item.header
        self.received += 1
        session, expected = self._expected.get(header.camera, (None, 0))
        seq = header.pose_seq if isinstance(header, PoseHeader) else header.frame_seq
        if session == header.session and seq > expected:
            self.lost[header.camera] += seq - expected
        self._expected[header.camera] = (header.session, seq + 1)

    def _note(self, message: Message | None) -> None:
        match message:
            case Hello():
                if self.hello is None or message.session != self.hello.session:
                    self._ended = False
                self.hello = message
            case Event():
                self.events.append(message)
                if message.name == END and self._closes(message):
                    self._ended = True

    def _closes(self, event: Event) -> bool:
        raise NotImplementedError


class PoseSubscriber(_Subscriber[Pose]):
    """Receives poses: iterate over it (also with `async for`), or ask for the `latest`.

    Parameters
    ----------
    endpoint
        Where poses are published; the publisher need not be there yet.
    camera
        Name of a camera; all by default.
    mode
        `every`: each pose, in order. `latest`: the newest that has arrived, older ones are passed over and counted.
    timeout_s
        Seconds to wait for a pose before `TimeoutError`; None waits for ever.
    follow
        Go on with the next session instead of ending with this one.
    queue_bytes
        Bytes that may wait to be read before poses are lost (and counted in `lost`).
    keys
        Where the publisher asks for them: `posestream.stream.wire.keys.load_keys`.
    context
        A ZeroMQ context; the process's own by default.

    Raises
    ------
    EndpointError
        Where the address is malformed.
    """

    _kind = Pose
    _topic = "pose"

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        camera: str | None = None,
        mode: Mode = "every",
        timeout_s: float | None = None,
        follow: bool = False,
        queue_bytes: int = 64 * 2**20,
        keys: Keys | None = None,
        context: "zmq.Context[Any] | None" = None,
    ) -> None:
        settings = _Settings(
            camera=camera,
            mode=mode,
            timeout_s=timeout_s,
            follow=follow,
            queue_bytes=queue_bytes,
            message_bytes=POSE_BYTES,
            part_bytes=MAX_HEADER_BYTES,
        )
        super().__init__(endpoint, settings, keys=keys, context=context)

    def _closes(self, event: Event) -> bool:
        return event.source == "inference"


class FrameSubscriber(_Subscriber[Frame]):
    """Receives raw frames of one camera: iterate over it (also with `async for`), or ask for the `latest`.

    Parameters
    ----------
    endpoint
        Where the camera publishes: in `session.json`, and in the hello of the pose stream.
    mode, timeout_s, follow, keys, context
        As for `PoseSubscriber`.
    queue_bytes
        Bytes of frames that may wait to be read before frames are lost (and counted in `lost`).
    frame_bytes
        Bytes of a frame, from which the queue's length follows.

    Raises
    ------
    EndpointError
        Where the address is malformed.
    """

    _kind = Frame
    _topic = "frame"

    def __init__(
        self,
        endpoint: str,
        *,
        mode: Mode = "every",
        timeout_s: float | None = None,
        follow: bool = False,
        queue_bytes: int = 128 * 2**20,
        frame_bytes: int = 640 * 480,
        keys: Keys | None = None,
        context: "zmq.Context[Any] | None" = None,
    ) -> None:
        settings = _Settings(
            mode=mode,
            timeout_s=timeout_s,
            follow=follow,
            queue_bytes=queue_bytes,
            message_bytes=frame_bytes,
            part_bytes=MAX_PART_BYTES,
        )
        super().__init__(endpoint, settings, keys=keys, context=context)

    def _closes(self, event: Event) -> bool:  # noqa: ARG002 - a camera's stream has one source
        return True
