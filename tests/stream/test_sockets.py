import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from posestream.stream.wire.control import MAX_CONTROL_BYTES, ControlLink, ControlServer, Failed, Join
from posestream.stream.wire.endpoints import EndpointError, check_endpoint, local_endpoint
from posestream.stream.wire.keys import Keys, KeysError, create_keys, load_keys, stop_authenticator
from posestream.stream.wire.sockets import Publisher, connect, subscriber

from ..support.runs import free_endpoint
from ..support.waiting import until

FRAME = np.zeros(100_000, np.uint8).data


def publisher(context: zmq.Context, endpoint: str | None = None, frames: int = 10, **options) -> Publisher:
    endpoint = endpoint or local_endpoint("test")
    return Publisher(context, endpoint, queue_bytes=frames * 100_000, message_bytes=100_000, **options)


def wait_for_reader(publisher: Publisher, readers: int = 1) -> None:
    until(lambda: (publisher.new_subscriptions(), publisher.subscriptions >= readers)[1])


def drain(socket: zmq.Socket, timeout_ms: int = 300) -> list[list[bytes]]:
    received = []
    while socket.poll(timeout_ms):
        received.append(socket.recv_multipart())
    return received


def test_what_is_sent_is_received(context: zmq.Context) -> None:
    sender = publisher(context)
    reader = subscriber(context, [sender.endpoint], ["a/"], queue_bytes=10**7, message_bytes=10**5)
    wait_for_reader(sender)
    assert sender.send([b"a/", b"header", FRAME])
    assert sender.send([b"b/", b"header", FRAME])
    assert drain(reader) == [[b"a/", b"header", bytes(FRAME)]]
    reader.close()
    sender.close()


def test_a_reader_that_never_reads_is_counted_and_holds_nobody_up(context: zmq.Context) -> None:
    sender = publisher(context)
    stuck = subscriber(context, [sender.endpoint], queue_bytes=200_000, message_bytes=100_000)
    good = subscriber(context, [sender.endpoint], queue_bytes=10**8, message_bytes=100_000)
    wait_for_reader(sender, 2)
    received = 0
    for number in range(300):
        sender.send([b"a/", str(number).encode(), FRAME])
        assert good.poll(5_000)
        received += good.recv_multipart()[1] == str(number).encode()
    got_by_stuck = len(drain(stuck))
    assert sender.sent == 300
    assert received == 300  # the reader that keeps up misses nothing
    assert 0 < sender.unsent <= 300 - got_by_stuck
    stuck.close()
    good.close()
    sender.close()


def test_without_readers_nothing_is_unsent(context: zmq.Context) -> None:
    sender = publisher(context)
    assert all(sender.send([b"a/", b"", FRAME]) for _ in range(100))
    assert sender.unsent == 0
    sender.close()


def test_garbage_from_readers_is_counted(context: zmq.Context) -> None:
    sender = publisher(context)
    rude = context.socket(zmq.XSUB)
    rude.connect(sender.endpoint)
    rude.send(b"\x01a/")
    wait_for_reader(sender)
    rude.send(b"garbage")
    until(lambda: (sender.new_subscriptions(), sender.malformed)[1] == 1)
    rude.close(0)
    until(lambda: (sender.new_subscriptions(), sender.subscriptions)[1] == 0)
    sender.close()


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:*", "tcp://*:5557", "tcp://192.0.2.1:5557", "tcp://[::]:5557"])
def test_an_address_beyond_this_machine_needs_keys(endpoint: str) -> None:
    with pytest.raises(EndpointError, match="needs keys"):
        check_endpoint(endpoint, bind=True, keys=None)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "tcp://localhost:80", "tcp://[::1]:5557"])
def test_loopback_needs_none(endpoint: str) -> None:
    check_endpoint(endpoint, bind=True, keys=None)


@pytest.mark.parametrize(
    "endpoint", ["", "127.0.0.1:5557", "tcp://127.0.0.1", "tcp://127.0.0.1:70000", "udp://x:1", "ipc://"]
)
def test_a_malformed_address_is_refused_with_an_example(endpoint: str) -> None:
    with pytest.raises(EndpointError, match=r"tcp://127\.0\.0\.1:5557"):
        check_endpoint(endpoint, bind=True, keys=None)


def test_an_address_in_use_is_refused(context: zmq.Context) -> None:
    first = publisher(context, "tcp://127.0.0.1:*")
    with pytest.raises(EndpointError, match="in use"):
        publisher(context, first.endpoint)
    first.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no ipc")
def test_an_ipc_address_is_not_taken_over(context: zmq.Context) -> None:
    first = publisher(context)
    with pytest.raises(EndpointError, match="in use"):
        publisher(context, first.endpoint)
    first.close()


@pytest.fixture(params=["plain", "keyed"])
def perhaps_keys(request, context: zmq.Context, tmp_path) -> Iterator[Keys | None]:
    if request.param == "plain":
        yield None
        return
    create_keys(tmp_path / "keys")
    yield load_keys(tmp_path / "keys")
    stop_authenticator(context)


@pytest.mark.parametrize(
    "size", [65_280, 65_503, 65_504, 65_520, 65_536, 640 * 480, 1920 * 1080 * 3], ids=lambda size: f"{size} bytes"
)
def test_a_part_of_the_limit_arrives_and_one_byte_more_closes_the_connection(context, perhaps_keys, size) -> None:
    sender = publisher(context, "tcp://127.0.0.1:*", keys=perhaps_keys)
    reader = subscriber(
        context, [sender.endpoint], queue_bytes=10**8, message_bytes=size, part_bytes=size, keys=perhaps_keys
    )
    wait_for_reader(sender)
    frame = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    sender.send([b"a/", b"header", frame.data])
    assert reader.poll(10_000)
    assert reader.recv_multipart() == [b"a/", b"header", frame.tobytes()]
    sender.send([b"a/", b"header", bytes(size + 1)])
    until(lambda: (sender.new_subscriptions(), sender.subscriptions)[1] == 0)
    assert not reader.poll(0)
    reader.close(0)
    sender.close()


def test_a_report_of_the_limit_reaches_the_supervisor(context, perhaps_keys) -> None:
    server = ControlServer(context, "tcp://127.0.0.1:*", perhaps_keys)
    join = Join(role="inference", pid=1, host="h", clock="c", version="0")
    link = ControlLink(context, server.endpoint, join, perhaps_keys)

    def failed(characters: int) -> Failed:
        return Failed(kind="failure", text="", counters=b"x" * characters)

    spare = len(msgspec.msgpack.encode(failed(100_000))) - 100_000
    until(lambda: (link.receive(0), link.lost_s == 0)[1])
    link.send(failed(MAX_CONTROL_BYTES - spare))
    said = [server.receive(5), server.receive(5)]
    assert [type(report) for _, report in filter(None, said)] == [Join, Failed]
    link.send(failed(MAX_CONTROL_BYTES - spare + 1))
    until(lambda: (link.receive(0), link.lost_s > 0)[1])
    link.close()
    server.close()


def bound(context: zmq.Context, endpoint: str, keys: Keys | None) -> ControlServer:
    """A server at an address that another has just left."""

    def attempt() -> ControlServer | None:
        with contextlib.suppress(EndpointError):
            return ControlServer(context, endpoint, keys)
        return None

    server = until(attempt)
    assert server is not None
    return server


def test_a_connection_that_broke_is_the_same_to_the_supervisor_when_it_is_back(context, perhaps_keys) -> None:
    endpoint = free_endpoint()
    server = bound(context, endpoint, perhaps_keys)
    join = Join(role="inference", pid=1, host="h", clock="c", version="0")
    link = ControlLink(context, endpoint, join, perhaps_keys)
    until(lambda: (link.receive(0), link.lost_s == 0)[1])
    first = server.receive(5)
    server.close()
    until(lambda: (link.receive(0), link.lost_s > 0)[1])
    server = bound(context, endpoint, perhaps_keys)
    until(lambda: (link.receive(0), link.lost_s == 0)[1])
    assert first is not None
    assert first == server.receive(5) == (first[0], join)  # it has no job yet, so it says again who it is
    link.close()
    server.close()


def test_a_process_that_was_refused_joins_the_run_that_comes_after(context, tmp_path) -> None:
    for name in ("lab", "other"):
        create_keys(tmp_path / name)
    endpoint = free_endpoint()
    server = bound(context, endpoint, load_keys(tmp_path / "other"))
    join = Join(role="inference", pid=1, host="h", clock="c", version="0")
    links = [ControlLink(context, endpoint, join, keys) for keys in (load_keys(tmp_path / "lab"), None)]
    for link in links:
        while not link.refused:
            link.receive(0.1)
        assert link.answered
    server.close()
    server = bound(context, endpoint, load_keys(tmp_path / "lab"))
    until(lambda: (links[0].receive(0), links[0].lost_s == 0)[1])
    said = server.receive(5)
    assert said is not None
    assert said[1] == join
    assert not links[0].refused
    for link in links:
        link.close()
    server.close()
    stop_authenticator(context)


@pytest.mark.parametrize("size", [96 * 64, 640 * 480])
def test_keys_let_the_owner_in_and_nobody_else(context: zmq.Context, tmp_path, size: int) -> None:
    create_keys(tmp_path / "lab")
    create_keys(tmp_path / "stranger")
    keys, strange = load_keys(tmp_path / "lab"), load_keys(tmp_path / "stranger")
    sender = publisher(context, "tcp://127.0.0.1:*", keys=keys)
    options: dict[str, Any] = {"queue_bytes": 10**7, "message_bytes": size, "part_bytes": size}
    friend = subscriber(context, [sender.endpoint], keys=keys, **options)
    plain = subscriber(context, [sender.endpoint], **options)
    thief = context.socket(zmq.SUB)
    thief.setsockopt(zmq.SUBSCRIBE, b"")
    thief.curve_publickey, thief.curve_secretkey = strange.client_public, strange.client_secret
    thief.curve_serverkey = keys.server_public  # a stranger may know the public key
    thief.connect(sender.endpoint)
    wait_for_reader(sender)
    for _ in range(5):
        sender.send([b"a/", b"secret", bytes(size)])
    assert len(drain(friend)) == 5
    assert drain(plain, 200) == drain(thief, 200) == []
    for socket in (friend, plain, thief):
        socket.close(0)
    sender.close()
    stop_authenticator(context)


def test_keys_are_never_overwritten(tmp_path) -> None:
    create_keys(tmp_path)
    before = (tmp_path / "server.key_secret").read_bytes()
    with pytest.raises(KeysError, match="holds keys already"):
        create_keys(tmp_path)
    assert (tmp_path / "server.key_secret").read_bytes() == before


def test_a_folder_without_keys_says_how_to_make_them(tmp_path) -> None:
    with pytest.raises(KeysError, match="posestream keys"):
        load_keys(tmp_path)


def test_a_socket_can_wait_for_its_publisher(context: zmq.Context) -> None:
    endpoint = local_endpoint("late")
    if endpoint.endswith("*"):
        pytest.skip("needs an address that is known before it is bound")
    reader = context.socket(zmq.SUB)
    reader.setsockopt(zmq.SUBSCRIBE, b"")
    connect(reader, endpoint, None)
    sender = publisher(context, endpoint)
    wait_for_reader(sender)
    sender.send([b"a/"])
    assert drain(reader) == [[b"a/"]]
    reader.close()
    sender.close()
