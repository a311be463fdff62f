"""What PROTOCOL.md says of keys, as a reader without this library does it."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zmq
import zmq.auth

from posestream.stream.wire.keys import create_keys, load_keys, stop_authenticator
from posestream.stream.wire.messages import PoseHeader, encode_pose
from posestream.stream.wire.sockets import Publisher

from .test_messages import PROTOCOL
from .test_sockets import wait_for_reader

KEYPOINTS = np.array([[1.5, 2.25, 0.5], [-1.0, 0.0, 1.0]], np.float32)
HEADER = PoseHeader(
    session="s",
    camera="top",
    pose_seq=5,
    frame_seq=7,
    device_id=None,
    device_time=None,
    keypoint_count=2,
    batch_size=1,
    captured_ns=1,
    wall_ns=2**62,
    sent_ns=1,
    received_ns=1,
    batched_ns=1,
    inferred_ns=1,
    published_ns=1,
)


@pytest.fixture
def publisher(context: zmq.Context, tmp_path):
    create_keys(tmp_path / "lab-keys")
    made = []

    def make() -> Publisher:
        keys = load_keys(tmp_path / "lab-keys")
        made.append(Publisher(context, "tcp://127.0.0.1:*", queue_bytes=10**6, message_bytes=1_000, keys=keys))
        return made[-1]

    yield make
    for publisher in made:
        publisher.close()
    stop_authenticator(context)


def test_the_example_reads_poses_with_keys(publisher, tmp_path) -> None:
    block = re.search(r"<!-- example: keys -->\s*```python\n(.*?)```", PROTOCOL.read_text(), re.S)
    assert block is not None
    elsewhere = tmp_path / "elsewhere" / "lab-keys"  # with the two files that the page says a reader needs
    elsewhere.mkdir(parents=True)
    for name in ("server.key", "client.key_secret"):
        shutil.copy(tmp_path / "lab-keys" / name, elsewhere)
    sender = publisher()
    with subprocess.Popen(
        [sys.executable, "-u", "-c", block[1], sender.endpoint],
        cwd=elsewhere.parent,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as reader:
        try:
            wait_for_reader(sender)
            sender.send(encode_pose(HEADER, KEYPOINTS))
            assert reader.stdout is not None
            assert reader.stdout.readline() == "top 7 [(1.5, 2.25, 0.5), (-1.0, 0.0, 1.0)]\n"
        finally:
            reader.kill()


def test_a_reader_may_have_a_pair_of_its_own(context, publisher, tmp_path) -> None:
    zmq.auth.create_certificates(tmp_path, "rig-3")
    shutil.copy(tmp_path / "rig-3.key", tmp_path / "lab-keys")
    sender = publisher()
    reader = context.socket(zmq.SUB)
    reader.curve_serverkey = zmq.auth.load_certificate(tmp_path / "lab-keys" / "server.key")[0]
    reader.curve_publickey, reader.curve_secretkey = zmq.auth.load_certificate(tmp_path / "rig-3.key_secret")
    reader.subscribe(b"pose/")
    reader.connect(sender.endpoint)
    wait_for_reader(sender)
    sender.send(encode_pose(HEADER, KEYPOINTS))
    assert reader.poll(5_000)
    reader.close(0)
