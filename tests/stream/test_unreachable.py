"""Addresses that another machine could not connect to, and what is said where nothing is heard."""

import pytest
import zmq

from posestream.stream.run import pose_recorder
from posestream.stream.run.children import Child, refusal
from posestream.stream.wire.control import Join
from posestream.stream.wire.endpoints import EndpointError
from posestream.stream.wire.jobs import PoseRecorderJob
from posestream.stream.wire.keys import create_keys, load_keys, stop_authenticator
from posestream.stream.wire.sockets import Publisher

from ..support.runs import ARENA

REMOTE = '[inference]\nmodel = "x"\nremote = true\n'
NETWORK = '[network]\nkeys = "lab"\ncontrol = "tcp://127.0.0.1:5998"\nposes = "{}"\n'


@pytest.mark.parametrize(
    ("camera", "poses", "named"),
    [
        ("tcp://*:5997", "tcp://127.0.0.1:5996", "tcp://*:5997"),
        ("tcp://0.0.0.0:5997", "tcp://127.0.0.1:5996", "tcp://0.0.0.0:5997"),
        ("ipc:///tmp/top", "tcp://127.0.0.1:5996", "ipc:///tmp/top"),
        ("tcp://127.0.0.1:5997", "tcp://*:5996", "tcp://*:5996"),
    ],
)
def test_addresses_that_no_other_machine_can_connect_to_are_refused(
    posestream, rig, tmp_path, camera, poses, named
) -> None:
    posestream("keys", tmp_path / "lab").end()
    text = f'{ARENA}endpoint = "{camera}"\n{REMOTE}{NETWORK.format(poses)}'
    status, _, err = posestream("run", rig(text)).end()
    assert status == 2
    assert named in err
    assert "write" in err


def test_a_folder_without_keys_is_said_to_be_missing(posestream, rig) -> None:
    text = f'{ARENA}endpoint = "tcp://127.0.0.1:5997"\n{REMOTE}{NETWORK.format("tcp://127.0.0.1:5996")}'
    status, _, err = posestream("run", rig(text)).end()
    assert status == 2
    assert "there is no folder of keys at" in err
    status, _, err = posestream("join", "inference", "tcp://127.0.0.1:5998", "--keys", "lab").end()
    assert status == 2
    assert "there is no folder of keys at" in err


def test_an_address_of_another_machine_is_called_that(context: zmq.Context, tmp_path) -> None:
    create_keys(tmp_path)
    with pytest.raises(EndpointError, match="no address of this machine"):
        Publisher(context, "tcp://192.0.2.1:5996", queue_bytes=100, message_bytes=10, keys=load_keys(tmp_path))
    stop_authenticator(context)


def test_the_pose_recorder_names_the_address_where_it_hears_nothing(monkeypatch) -> None:
    monkeypatch.setattr(pose_recorder, "HELLO_S", 0.2)
    role = pose_recorder.PoseRecorderRole()
    with pytest.raises(TimeoutError, match=r"tcp://127\.0\.0\.1:5995"):
        role.arm(PoseRecorderJob(session="s", endpoint="tcp://127.0.0.1:5995", folders={}), None)
    role.stop()


def test_a_process_of_another_version_is_refused_with_both_versions() -> None:
    inference = Child("inference", remote=True)
    join = Join(role="inference", pid=1, host="gpu-pc", clock="c", version="9.9")
    assert "gpu-pc has 9.9" in refusal([inference], join)
