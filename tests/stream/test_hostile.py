"""Strangers at the sockets of a run: they see nothing, and the run does not notice them."""

import contextlib
import socket
from typing import Any

import msgspec
import pytest
import zmq

from posestream.stream.wire.control import Failed, Finished, Join, Notice, Status
from posestream.stream.wire.counters import CameraCounters
from posestream.stream.wire.keys import create_keys, load_keys
from posestream.stream.wire.messages import Event

from ..support.runs import ARENA, arena, free_endpoint
from .test_run import inference

pytestmark = pytest.mark.timeout(180)

JOIN = Join(role="camera:top", pid=1, host="h", clock="c", version="0")
MANY = msgspec.msgpack.encode(CameraCounters(captured=10**9))
EVENT = Event(session="s", source="top", time_ns=0, wall_ns=0, level="error", name="end", text="it is over")
REPORTS: tuple[Any, ...] = (JOIN, Status(counters=MANY), Notice(event=EVENT), Finished(counters=b"\xc1"))
REPORTS += (Failed(kind="failure", text="it broke"),)


def reader(context: zmq.Context, endpoint: str) -> zmq.Socket:
    stranger = context.socket(zmq.SUB)
    stranger.setsockopt(zmq.SUBSCRIBE, b"")
    return connected(stranger, endpoint)


def talker(context: zmq.Context, endpoint: str) -> zmq.Socket:
    return connected(context.socket(zmq.DEALER), endpoint)


def connected(stranger: zmq.Socket, endpoint: str) -> zmq.Socket:
    stranger.setsockopt(zmq.LINGER, 0)
    stranger.setsockopt(zmq.RECONNECT_IVL, 20)
    stranger.connect(endpoint)
    return stranger


def say_everything(talkers: list[zmq.Socket]) -> None:
    for stranger in talkers:
        for report in REPORTS:
            with contextlib.suppress(zmq.Again):
                stranger.send(msgspec.msgpack.encode(report), zmq.NOBLOCK)


@pytest.mark.parametrize("size", ["96x64", "640x480"])
def test_a_client_without_the_key_sees_nothing_and_disturbs_nothing(
    posestream, rig, random_model, tmp_path, context, size
) -> None:
    create_keys(tmp_path / "lab")
    create_keys(tmp_path / "elsewhere")
    lab, own = load_keys(tmp_path / "lab"), load_keys(tmp_path / "elsewhere")
    frames, poses, control = free_endpoint(), free_endpoint(), free_endpoint()
    network = f'[network]\nkeys = "lab"\ncontrol = "{control}"\nposes = "{poses}"\n'
    text = f'{arena(size)}endpoint = "{frames}"\n{inference(random_model, precision="float32")}{network}'
    plain = [reader(context, frames), reader(context, poses)]
    talkers = [talker(context, control)]
    # A thief knows the server's public key and has a pair of his own.
    thief = context.socket(zmq.SUB)
    talking_thief = context.socket(zmq.DEALER)
    for stranger in (thief, talking_thief):
        stranger.curve_publickey, stranger.curve_secretkey = own.client_public, own.client_secret
        stranger.curve_serverkey = lab.server_public
    thief.setsockopt(zmq.SUBSCRIBE, b"")
    for endpoint in (frames, poses):
        connected(thief, endpoint)
    talkers.append(connected(talking_thief, control))

    run = posestream("run", rig(text), "--json")
    say_everything(talkers)  # before anybody has joined
    run.until_rows(30, "top/frames.csv")
    for endpoint in (frames, poses, control):
        with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as garbage:
            garbage.sendall(bytes(range(256)))
    say_everything(talkers)
    # Somebody of the lab who has the key, and speaks in another's name.
    insider = context.socket(zmq.DEALER)
    lab.connect(insider)
    connected(insider, control)
    say_everything([insider])
    rows = 30
    while not any((tmp_path / "out").glob("*/top/poses.csv")) or rows < 130:
        rows += 50
        run.until_rows(rows, "top/frames.csv")
    run.until_rows(2, "top/poses.csv")
    run.interrupt()
    summary = run.summary(0)

    assert all(not stranger.poll(200) for stranger in (*plain, thief, *talkers))
    camera = summary["cameras"]["top"]
    assert camera["frames"]["captured"] == camera["frames"]["recorded"] > 100
    assert camera["poses"]["unexplained"] == 0
    assert summary["malformed"] == {"supervisor": len(REPORTS), "camera:top": 0, "inference": 0, "poses": 0}
    assert min(summary["refused"][role] for role in ("supervisor", "camera:top", "inference")) > 0
    for stranger in (*plain, *talkers, thief, insider):
        stranger.close(0)


OPEN_RIGS = {
    "frames": ARENA + 'endpoint = "tcp://192.0.2.1:5999"\n',
    "poses": ARENA + '[inference]\nmodel = "openfield-mouse"\n[network]\nposes = "tcp://192.0.2.1:5999"\n',
    "control": f'{ARENA}[network]\ncontrol = "tcp://192.0.2.1:5999"\n',
    "a name": ARENA + 'endpoint = "tcp://lab-pc:5999"\n',
}


@pytest.mark.parametrize("case", OPEN_RIGS)
def test_without_keys_no_socket_opens_beyond_this_machine(posestream, rig, tmp_path, case) -> None:
    status, _, err = posestream("run", rig(OPEN_RIGS[case]), "--seconds", 1).end()
    assert status == 2, err
    assert "posestream keys" in err
    assert not any((tmp_path / "out").glob("*"))
