"""Sends damaged messages to every socket of a run: python benchmarks/damage.py [--messages 1000000].

Each socket's owner, as a run has it, stands in a process of its own and is sent messages by ipc (loopback tcp on
Windows): random bytes, parts cut short or made longer, parts missing or too many, lengths and shapes that the body
has not, wrong types, wrong versions, messages of another session; and a valid one now and then. A row is good where
the owner lives, has counted every damaged message, has received every valid one, and has not grown. The status is 1
where any row is not.
"""

import argparse
import contextlib
import multiprocessing
import random
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import zmq
from report import markdown

from posestream.acquisition.pace import InferencePacing
from posestream.inference.live.batcher import Batcher
from posestream.inference.live.pose_publisher import PosePublisher
from posestream.inference.live.receiver import Receiver
from posestream.stream.subscribers import FrameSubscriber, PoseSubscriber
from posestream.stream.wire.control import Command, ControlLink, ControlServer, Join, Report, Status, Stop
from posestream.stream.wire.counters import CameraCounters
from posestream.stream.wire.endpoints import local_endpoint
from posestream.stream.wire.keys import create_keys, load_keys, stop_authenticator
from posestream.stream.wire.messages import (
    Event,
    Frame,
    FrameHeader,
    Hello,
    MalformedMessage,
    Message,
    Pose,
    PoseHeader,
    StreamInfo,
    decode,
    encode_event,
    encode_frame,
    encode_hello,
    encode_pose,
)
from posestream.stream.wire.sockets import Publisher, subscriber

SESSION, OTHER = "session", "another"
SHAPE = (48, 64, 1)
VALID_EVERY = 50
LAG = 2_000
"""Messages that may wait for the owner, so that what is measured is its memory and not its queue."""
TOPICS = {
    "frame_subscriber": (b"frame/", b"hello/", b"event/"),
    "pose_subscriber": (b"pose/", b"hello/", b"event/"),
    "receiver": (b"",),
    "follower": (b"pose/top/", b"event/top/"),
}
QUIET_S = 10.0
GROWTH_MIB = 8.0
SAY_S = 0.02
COUNTED = ("valid", "malformed", "foreign")
INFO = StreamInfo(camera="top", endpoint="", height=SHAPE[0], width=SHAPE[1], pixel_format="gray8")
Parts = list[bytes]
Counts = dict[str, int]


# What is sent.


def frame(seq: int, session: str = SESSION, shape: tuple[int, int, int] = SHAPE) -> Parts:
    """Give a valid frame."""
    header = FrameHeader(
        session=session,
        camera="top",
        frame_seq=seq,
        device_id=seq,
        device_time=None,
        captured_ns=1,
        wall_ns=1,
        sent_ns=1,
        height=shape[0],
        width=shape[1],
        pixel_format="gray8",
    )
    return [bytes(part) for part in encode_frame(header, np.full(shape, seq % 256, np.uint8))]


def pose(seq: int, session: str = SESSION) -> Parts:
    """Give a valid pose."""
    times = ("captured_ns", "wall_ns", "sent_ns", "received_ns", "batched_ns", "inferred_ns", "published_ns")
    stamps: dict[str, Any] = dict.fromkeys(times, 1)
    header = PoseHeader(
        session=session,
        camera="top",
        pose_seq=seq,
        frame_seq=seq,
        device_id=None,
        device_time=None,
        keypoint_count=4,
        batch_size=1,
        **stamps,
    )
    return [bytes(part) for part in encode_pose(header, np.zeros((4, 3), np.float32))]


def event() -> Parts:
    """Give a valid event."""
    said = Event(session=SESSION, source="top", time_ns=1, wall_ns=1, level="info", name="note", text="a note")
    return [bytes(part) for part in encode_event(said)]


def hello() -> Parts:
    """Give a valid hello."""
    said = Hello(session=SESSION, source="top", role="frames", clock="c", streams=(INFO,))
    return [bytes(part) for part in encode_hello(said)]


def status(seq: int) -> bytes:
    """Give a valid report to the supervisor."""
    return msgspec.msgpack.encode(Status(counters=msgspec.msgpack.encode(CameraCounters(captured=seq))))


def damaged_header(header: bytes, rng: random.Random) -> bytes:
    """Change a msgpack map so that it says something else, of another type, or too much."""
    fields = msgspec.msgpack.decode(header)
    key = rng.choice(list(fields))
    wrong: list[Any] = [None, -1, 2**63, 2**64 - 1, 1e300, "x" * 300, [], {"a": [1] * 20}, True, b"\xff" * 9, 65_535]
    match rng.randrange(5):
        case 0:
            fields[key] = rng.choice(wrong)
        case 1:
            del fields[key]
        case 2:
            fields["v"] = rng.choice([0, 2, 99, -1, "1"])
        case 3 if "height" in fields:
            fields |= {"height": rng.choice([1, 65_535, 10**12]), "width": rng.choice([3, 65_535])}
        case 3 if "keypoints" in fields:
            fields["keypoints"] = rng.choice([1, 4_096, 10**9])
        case _:
            fields["type"] = rng.choice(["frame", "pose", "hello", "event", "", 7])
    return msgspec.msgpack.encode(fields)


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Cut, lengthen, change or replace some bytes."""
    at = rng.randrange(len(data) + 1)
    match rng.randrange(5):
        case 0:
            return data[:at]
        case 1:
            return data + rng.randbytes(rng.randrange(1, 100))
        case 2:
            return rng.randbytes(rng.randrange(200))
        case 3:
            return data[:at] + rng.randbytes(4) + data[at + 4 :]
        case _:  # msgpack that announces what it has not: 2^32 - 1 elements, bytes, or as deep as it goes
            return rng.choice(
                [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 9_999]
            )


def damaged(valid: Parts, rng: random.Random) -> Parts:
    """Damage a message of a stream; its topic keeps the beginning that was subscribed to."""
    topic, header, *body = valid
    match rng.randrange(8):
        case 0:
            return [topic]
        case 1:
            return [topic, header, *body, *[b"more"] * rng.randrange(1, 9)]
        case 2:
            return [topic + rng.randbytes(rng.randrange(1, 120)), header, *body]
        case 3:
            return [topic, header, *(damaged_bytes(part, rng) for part in body)]
        case 4 | 5:
            return [topic, damaged_header(header, rng), *body]
        case _:
            return [topic, damaged_bytes(header, rng), *body]


def streamed(first: int, number: int, rng: random.Random, make: Callable[..., Parts]) -> Iterator[tuple[Parts, bool]]:
    """Give messages of a stream, and whether each is a valid one of the kind and session that is waited for."""
    others: list[Callable[[], Parts]] = [event, hello, lambda: make(0, OTHER)]
    if make is frame:
        others += [lambda: frame(0, SESSION, (3, 5, 1)), lambda: pose(0)]
    for index in range(first, first + number):
        if index % VALID_EVERY == 0:
            yield make(index // VALID_EVERY), True
        elif index % VALID_EVERY == 1:
            yield rng.choice(others)(), False
        else:
            yield (
                damaged(make(rng.randrange(1_000)) if rng.random() < 0.8 else rng.choice([event, hello])(), rng),
                False,
            )


# Who receives: each gives a function that goes on by a step, and one that gives its counts.

Owner = tuple[Callable[[], object], Callable[[], Counts]]


def frame_subscriber(endpoint: str) -> Owner:
    """Be a program's own `FrameSubscriber`."""
    return _subscriber(FrameSubscriber(endpoint, timeout_s=0.05, follow=True, frame_bytes=SHAPE[0] * SHAPE[1]))


def pose_subscriber(endpoint: str) -> Owner:
    """Be a program's own `PoseSubscriber`, which the pose recorder is too."""
    return _subscriber(PoseSubscriber(endpoint, timeout_s=0.05, follow=True))


def _subscriber(reader: FrameSubscriber | PoseSubscriber) -> Owner:
    def step() -> None:
        with contextlib.suppress(TimeoutError):
            next(reader)

    return step, lambda: {
        "valid": reader.received,
        "malformed": reader.malformed.total(),
        "lost": reader.lost.total(),
    }


def receiver(endpoint: str) -> Owner:
    """Be the thread of inference that receives frames."""
    context: zmq.Context[Any] = zmq.Context.instance()
    batcher = Batcher("freshest", 1, 0, 2**20)
    publisher = PosePublisher(
        context,
        local_endpoint("poses"),
        session=SESSION,
        streams=[INFO],
        bodyparts=["a"],
        skeleton=[],
        scorer="",
        keys=None,
    )
    info = msgspec.structs.replace(INFO, endpoint=endpoint)
    owner = Receiver(context, SESSION, [info], batcher, publisher, None)

    def step() -> None:
        batcher.next(lambda: True, 0.05)
        batcher.take_skipped()
        if owner.error is not None:
            raise owner.error

    def counts() -> Counts:
        return {
            "valid": owner.received["top"],
            "malformed": owner.malformed.total(),
            "foreign": owner.foreign.total(),
            "lost": batcher.skipped["top", "lost-on-wire"],
        }

    return step, counts


def follower(endpoint: str) -> Owner:
    """Be the reader of poses in a camera process whose camera waits for inference."""
    reader, out = InferencePacing(zmq.Context.instance(), endpoint, SESSION, "top", 8, None), Counter[str]()

    def step() -> None:
        if reader.wait(out["frames"] + 8, 0.05):
            out["frames"] += 1

    return step, lambda: {"valid": out["frames"], "malformed": reader.malformed}


def control_server(endpoint: str) -> Owner:
    """Be the supervisor's side of the control connection."""
    server, got = ControlServer(zmq.Context.instance(), endpoint), Counter[str]()

    def step() -> None:
        got["valid"] += server.receive(0.05) is not None

    return step, lambda: {"valid": got["valid"], "malformed": server.malformed.total()}


def control_link(endpoint: str) -> Owner:
    """Be a process's side of the control connection."""
    join = Join(role="camera:top", pid=1, host="h", clock="c", version="0")
    link, got = ControlLink(zmq.Context.instance(), endpoint, join), Counter[str]()

    def step() -> None:
        got["valid"] += link.receive(0.05) is not None

    return step, lambda: {"valid": got["valid"], "malformed": link.malformed.total()}


def publisher(endpoint: str) -> Owner:
    """Be the side of a publisher that subscriptions come in by; it publishes all the while, as a camera does."""
    owner, new = Publisher(zmq.Context.instance(), endpoint, queue_bytes=2**20, message_bytes=100), Counter[str]()

    def step() -> None:
        new["valid"] += owner.new_subscriptions()
        owner.send([b"number", str(owner.sent).encode()])
        time.sleep(0.001)

    return step, lambda: {
        "valid": new["valid"],
        "malformed": owner.malformed,
        "published": owner.sent,
        "unsent": owner.unsent,
    }


OWNERS = {
    owner.__name__: owner
    for owner in (frame_subscriber, pose_subscriber, receiver, follower, control_server, control_link, publisher)
}


def own(kind: str, endpoint: str, pipe: Any) -> None:
    """Be the owner of a socket, until told to end; say all the time how it stands."""
    step, counts = OWNERS[kind](endpoint)
    process, said = psutil.Process(), 0.0
    while not pipe.poll():
        step()
        if time.monotonic() - said > SAY_S:
            said = time.monotonic()
            pipe.send((counts(), process.memory_info().rss / 2**20))
    pipe.send((counts(), process.memory_info().rss / 2**20))
    pipe.recv()
    psutil.Process().kill()  # what it holds is of no interest, and threads of its own must not keep it alive


# Sending, and counting what should arrive.


class Sender:
    """Sends without losing, and knows what the owner must have counted."""

    def __init__(self, context: "zmq.Context[Any]", kind: str, endpoint: str) -> None:
        self.expected: Counter[str] = Counter()
        self.kind = kind
        self._to: list[bytes] = []
        types = {"control_server": zmq.DEALER, "control_link": zmq.ROUTER, "publisher": zmq.XSUB}
        self.socket = context.socket(types.get(kind, zmq.XPUB))
        self.socket.setsockopt(zmq.LINGER, 10_000)
        if kind == "control_link":
            self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if kind == "publisher":
            self.socket.setsockopt(zmq.SNDHWM, 0)  # an XSUB socket drops beyond it
        if types.get(kind) in {zmq.DEALER, zmq.XSUB}:
            self.socket.connect(endpoint)
            return
        if self.socket.type == zmq.XPUB:
            self.socket.setsockopt(zmq.XPUB_NODROP, 1)  # and it waits where a queue is full
        self.socket.bind(endpoint)

    def wait(self) -> None:
        """Wait until the owner has connected."""
        if self.kind == "control_link":
            self._to = [self.socket.recv_multipart()[0]]
        elif self.socket.type == zmq.XPUB:
            self.socket.recv()
            time.sleep(0.5)  # its other subscriptions
        else:
            time.sleep(0.5)

    def send(self, first: int, number: int, rng: random.Random) -> None:
        """Send messages, every one; `first` is the number of the first."""
        messages = {"control_server": self._reports, "control_link": self._commands, "publisher": self._subscriptions}
        make = messages.get(self.kind)
        for parts in make(number, rng) if make is not None else self._stream(first, number, rng):
            self.socket.send_multipart([*self._to, *parts])

    def _stream(self, first: int, number: int, rng: random.Random) -> Iterator[Parts]:
        make = frame if self.kind in {"frame_subscriber", "receiver"} else pose
        for parts, own in streamed(first, number, rng, make):
            if not parts[0].startswith(TOPICS[self.kind]):
                continue  # it did not subscribe to this
            try:
                name = "valid" if own else self._fate(decode(parts))
            except MalformedMessage:
                name = "malformed"
            if name is not None:
                self.expected[name] += 1
                yield parts

    def _fate(self, message: Message) -> str | None:
        """Say what a message counts as that the damage has left valid; none where it would be a loss, or an end."""
        if isinstance(message, Event) and message.name in {"end", "skipped"}:
            return None
        session = message.header.session if isinstance(message, Frame | Pose) else message.session
        if self.kind == "receiver":
            if session != SESSION or isinstance(message, Pose):
                return "foreign"
            if isinstance(message, Frame):
                return None if message.pixels.shape == SHAPE else "foreign"
        elif isinstance(message, Frame | Pose):
            if session == SESSION:
                return None
            return "valid" if self.kind != "follower" else "unheard"
        return "unheard"

    def _reports(self, number: int, rng: random.Random) -> Iterator[Parts]:
        return self._control(number, rng, Report, status)

    def _commands(self, number: int, rng: random.Random) -> Iterator[Parts]:
        return self._control(number, rng, Command, lambda seq: msgspec.msgpack.encode(Stop(reason=str(seq))))

    def _control(self, number: int, rng: random.Random, kind: Any, make: Callable[[int], bytes]) -> Iterator[Parts]:
        decoder = msgspec.msgpack.Decoder(kind)
        for index in range(number):
            parts = [make(index)]
            if index % VALID_EVERY:
                data = damaged_header(parts[0], rng) if rng.random() < 0.5 else damaged_bytes(parts[0], rng)
                parts = [data, *[b"more"] * (rng.randrange(4) if rng.random() < 0.2 else 0)]
            try:
                decoder.decode(parts[0])
                valid = len(parts) == 1
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                valid = False
            self.expected["valid" if valid else "malformed"] += 1
            yield parts

    def _subscriptions(self, number: int, rng: random.Random) -> Iterator[Parts]:
        for index in range(number):
            if index % VALID_EVERY < 2:  # subscribe, and unsubscribe again
                self.expected["valid"] += index % VALID_EVERY == 0
                yield [bytes([1 - index % VALID_EVERY]) + b"topic"]
                continue
            # What begins with 1 is a subscription, whatever it is to, and libzmq keeps it while the reader is there.
            parts = [
                bytes([rng.randrange(2, 256)]) + rng.randbytes(rng.randrange(120))
                for _ in range(rng.choice([1, 1, 1, 2, 6]))
            ]
            self.expected["malformed"] += len(parts)  # libzmq takes each part by itself
            yield parts


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
"""How a client of ZMTP 3 begins (RFC 37), before it says HELLO with its key (RFC 26)."""


def at_the_door(number: int) -> dict[str, Any]:
    """Connect so many times to a publisher that asks for keys, and say nonsense where a handshake should be."""
    rng = random.Random(0)  # noqa: S311
    with tempfile.TemporaryDirectory() as name:
        create_keys(Path(name) / "lab")
        keys = load_keys(Path(name) / "lab")
        context: zmq.Context[Any] = zmq.Context()
        publisher = Publisher(context, "tcp://127.0.0.1:*", queue_bytes=2**20, message_bytes=100, keys=keys)
        port = int(publisher.endpoint.rpartition(":")[2])
        reader = subscriber(context, [publisher.endpoint], queue_bytes=2**26, message_bytes=100, keys=keys)
        while not publisher.new_subscriptions():
            time.sleep(0.01)
        arrived, memory, began = 0, [], time.monotonic()
        for index in range(number):
            said = rng.choice([b"", GREETING[: rng.randrange(64)], rng.randbytes(100), GREETING])
            if said == GREETING:
                said += rng.choice([b"\x04\xc8\x05HELLO" + rng.randbytes(194), rng.randbytes(200)])
            with socket.socket() as stranger:
                # Reset at the end: a million connections would leave no port free otherwise.
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stranger.connect(("127.0.0.1", port))
                with contextlib.suppress(OSError):  # it is thrown out in the middle of a word
                    stranger.sendall(said)
                    stranger.shutdown(socket.SHUT_WR)
                    while stranger.recv(1_000):
                        pass
            publisher.new_subscriptions()
            publisher.send([b"number", str(index).encode()])
            while reader.poll(0):
                arrived += int(reader.recv_multipart()[1]) == arrived
            if index % max(1, number // 50) == 0:
                memory.append((index, psutil.Process().memory_info().rss / 2**20))
        while reader.poll(1_000):
            arrived += int(reader.recv_multipart()[1]) == arrived
        publisher.new_subscriptions()
        seconds = time.monotonic() - began
        counted = {"malformed": publisher.refused, "valid": arrived}
        reader.close(0)
        publisher.close()
        stop_authenticator(context)
        context.term()
    expected = Counter(malformed=number, valid=number)
    return _row("curve handshake", number, expected, counted, True, publisher.unsent, memory, seconds)


def one_socket(kind: str, number: int, seed: int = 0) -> dict[str, Any]:
    """Send so many messages to one kind of socket, and see what came of it."""
    spawn = multiprocessing.get_context("spawn")
    pipe, other_end = spawn.Pipe()
    endpoint = local_endpoint("damage")
    if endpoint.endswith("*"):  # Windows
        endpoint = f"tcp://127.0.0.1:{random.Random().randrange(20_000, 60_000)}"  # noqa: S311
    context: zmq.Context[Any] = zmq.Context()
    owner = spawn.Process(target=own, args=(kind, endpoint, other_end), daemon=True)
    owner.start()
    sender = Sender(context, kind, endpoint)
    memory: list[tuple[int, float]] = []
    counted: Counts = {}

    def look() -> None:
        nonlocal counted
        while pipe.poll():
            counted, rss_mib = pipe.recv()
            memory.append((sum(sender.expected.values()), rss_mib))

    with Bystander(context, endpoint) if kind == "publisher" else contextlib.nullcontext() as bystander:
        sender.wait()
        rng, began = random.Random(seed), time.monotonic()  # noqa: S311 - the same damage each time
        for first in range(0, number, LAG // 2):
            sender.send(first, min(LAG // 2, number - first), rng)
            waited = time.monotonic()
            while _came(sender.expected) - _came(counted) > LAG // 2 and time.monotonic() - waited < QUIET_S:
                time.sleep(0.002)
                look()
            if not owner.is_alive():
                break
        last, changed = counted, time.monotonic()
        while owner.is_alive() and not _all_arrived(sender.expected, counted) and time.monotonic() - changed < QUIET_S:
            time.sleep(0.05)
            look()
            if counted != last:
                last, changed = counted, time.monotonic()
        seconds = time.monotonic() - began
        alive = owner.is_alive()
        if alive:
            pipe.send("end")
            counted, rss_mib = pipe.recv() if not pipe.poll() else counted_last(pipe)
            memory.append((number, rss_mib))
        lost = bystander.lost(counted) if bystander is not None else 0
    owner.kill()
    owner.join()
    sender.socket.close(0)
    context.term()
    return _row(kind, number, sender.expected, counted, alive, lost, memory, seconds)


def counted_last(pipe: Any) -> Any:
    """Take what the owner said last."""
    said = pipe.recv()
    while pipe.poll(1.0):
        said = pipe.recv()
    return said


def _came(counted: Counts) -> int:
    return sum(counted.get(name, 0) for name in COUNTED)


def _all_arrived(expected: Counts, counted: Counts) -> bool:
    return bool(counted) and all(counted.get(name, 0) >= number for name, number in expected.items() if name in COUNTED)


def _row(
    kind: str,
    number: int,
    expected: Counts,
    counted: Counts,
    alive: bool,
    lost: int,
    memory: list[tuple[int, float]],
    seconds: float,
) -> dict[str, Any]:
    early = max([mib for sent, mib in memory if sent <= max(number / 5, memory[0][0])], default=0.0)
    late = max([mib for sent, mib in memory if sent > number / 2], default=0.0)
    extra = 1 if kind == "publisher" else 0  # the bystander's own subscription
    right = all(counted.get(name, 0) == expected[name] + (extra if name == "valid" else 0) for name in COUNTED)
    return {
        "socket": kind.replace("_", " "),
        "messages": number,
        "damaged": expected["malformed"],
        "counted": counted.get("malformed", 0),
        "foreign": expected.get("foreign", 0),
        "counted ": counted.get("foreign", 0),
        "valid": expected["valid"],
        "arrived": counted.get("valid", 0) - extra,
        "lost by others": lost,
        "MiB early": round(early, 1),
        "MiB late": round(late, 1),
        "messages/s": round(number / seconds),
        "good": alive and right and lost + counted.get("lost", 0) == 0 and late - early < GROWTH_MIB,
    }


class Bystander:
    """An honest reader of the publisher that is sent garbage."""

    def __init__(self, context: "zmq.Context[Any]", endpoint: str) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"number")
        self._socket.connect(endpoint)

    def __enter__(self) -> "Bystander":
        if not self._socket.poll(20_000):
            raise SystemExit("the publisher was not heard")
        return self

    def lost(self, counted: Counts) -> int:
        """Messages that were published after the first that was received, and did not arrive."""
        numbers = []
        while self._socket.poll(500):
            numbers.append(int(self._socket.recv_multipart()[1]))
        return counted.get("published", 0) - numbers[0] - len(numbers)

    def __exit__(self, *_: object) -> None:
        self._socket.close(0)


def main() -> None:
    """Print a row for each socket."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--only", choices=[*OWNERS, "curve"], action="append")
    given = parser.parse_args()
    rows = []
    for kind in given.only or [*OWNERS, "curve"]:
        rows.append(at_the_door(given.messages) if kind == "curve" else one_socket(kind, given.messages))
        print(rows[-1], file=sys.stderr, flush=True)
    print(markdown(rows))
    sys.exit(0 if all(row["good"] for row in rows) else 1)


if __name__ == "__main__":
    main()
