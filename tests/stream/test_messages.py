import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posestream.stream.wire import messages
from posestream.stream.wire.messages import (
    Event,
    Frame,
    FrameHeader,
    Hello,
    MalformedMessage,
    MessageDecoder,
    Pose,
    PoseHeader,
    StreamInfo,
    decode,
    encode_event,
    encode_frame,
    encode_hello,
    encode_pose,
)
from posestream.stream.wire.sensor import SensorPatch, to_sensor

PROTOCOL = Path(__file__).parents[2] / "PROTOCOL.md"

FRAME = FrameHeader(
    session="5e55",
    camera="top",
    frame_seq=7,
    device_id=65536,
    device_time=None,
    captured_ns=1_000_000_000,
    wall_ns=1_700_000_000_000_000_000,
    sent_ns=1_000_200_000,
    height=2,
    width=3,
    pixel_format="gray8",
)
PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
POSE = PoseHeader(
    session="5e55",
    camera="top",
    pose_seq=5,
    frame_seq=7,
    device_id=65536,
    device_time=None,
    keypoint_count=2,
    batch_size=1,
    captured_ns=1_000_000_000,
    wall_ns=1_700_000_000_000_000_000,
    sent_ns=1_000_200_000,
    received_ns=1_000_300_000,
    batched_ns=1_000_310_000,
    inferred_ns=1_009_000_000,
    published_ns=1_009_020_000,
)
VIEWED_POSE = msgspec.structs.replace(POSE, sensor=True)
KEYPOINTS = np.array([[1.5, 2.25, 0.5], [-1.0, 0.0, 1.0]], np.float32)
SENSOR_KEYPOINTS = np.array([[13.5, 25.0], [8.5, 20.5]], np.float32)
PATCH = SensorPatch(x=0, y=0, width=3, height=2, to_sensor=(2.0, 0.0, 10.5, 0.0, 2.0, 20.5))
EVENT = Event(
    session="5e55",
    source="top",
    time_ns=1,
    wall_ns=2,
    level="info",
    name="skipped",
    text="camera top: no live pose for frames 5 to 6 (fresher-frame)",
    data={"first_seq": 5, "last_seq": 6, "count": 2, "cause": "fresher-frame"},
)
HELLO = Hello(
    session="5e55",
    source="inference",
    role="poses",
    clock="lab-pc-0242ac110002",
    streams=(
        StreamInfo(
            camera="top",
            endpoint="ipc:///tmp/top",
            height=2,
            width=3,
            pixel_format="gray8",
            rate_hz=100.0,
            sensor=(PATCH,),
        ),
    ),
    bodyparts=("snout", "tailbase"),
    skeleton=(("snout", "tailbase"),),
    scorer="DLC_resnet50_openfieldOct30shuffle1_1030000",
)
ENCODED = {
    "frame": lambda: encode_frame(FRAME, PIXELS),
    "pose": lambda: encode_pose(POSE, KEYPOINTS),
    "viewed-pose": lambda: encode_pose(VIEWED_POSE, KEYPOINTS, SENSOR_KEYPOINTS),
    "event": lambda: encode_event(EVENT),
    "hello": lambda: encode_hello(HELLO),
}


def bytes_in_the_protocol_page(kind: str) -> list[bytes]:
    block = re.search(rf"<!-- example: {kind} -->\s*```text\n(.*?)```", PROTOCOL.read_text(), re.S)
    assert block is not None, f"PROTOCOL.md has no example of a {kind}"
    parts: list[str] = []
    for line in block[1].splitlines():
        label, _, digits = line.partition(":")
        if label.strip():
            parts.append("")
        parts[-1] += digits
    return [bytes.fromhex(part) for part in parts]


@pytest.mark.parametrize("kind", ENCODED)
def test_the_bytes_are_those_of_the_protocol_page(kind: str) -> None:
    assert [bytes(part) for part in ENCODED[kind]()] == bytes_in_the_protocol_page(kind)


def test_what_is_encoded_is_decoded() -> None:
    frame, pose = decode(ENCODED["frame"]()), decode(ENCODED["pose"]())
    assert isinstance(frame, Frame)
    assert frame.header == FRAME
    np.testing.assert_array_equal(frame.pixels, PIXELS)
    assert isinstance(pose, Pose)
    assert pose.header == POSE
    np.testing.assert_array_equal(pose.keypoints, KEYPOINTS)
    np.testing.assert_array_equal(pose.sensor_keypoints, KEYPOINTS[:, :2])
    viewed = decode(ENCODED["viewed-pose"]())
    assert isinstance(viewed, Pose)
    np.testing.assert_array_equal(viewed.keypoints, KEYPOINTS)
    np.testing.assert_array_equal(viewed.sensor_keypoints, SENSOR_KEYPOINTS)
    np.testing.assert_array_equal(to_sensor(HELLO.streams[0].sensor, KEYPOINTS[:, :2]), SENSOR_KEYPOINTS)
    assert decode(ENCODED["event"]()) == EVENT
    assert decode(ENCODED["hello"]()) == HELLO


def test_labs_programs_still_find_the_number_under_its_name_on_the_wire() -> None:
    assert (FRAME.seq, POSE.seq) == (FRAME.frame_seq, POSE.pose_seq) == (7, 5)


def test_pixels_are_not_copied() -> None:
    parts = encode_frame(FRAME, PIXELS)
    assert np.shares_memory(np.frombuffer(parts[2], np.uint8), PIXELS)
    frame = decode(parts)
    assert isinstance(frame, Frame)
    assert np.shares_memory(frame.pixels, PIXELS)


def test_fields_that_a_later_minor_change_adds_are_ignored() -> None:
    fields = msgspec.to_builtins(FRAME) | {"exposure_us": 900}
    parts = [*ENCODED["frame"]()[:1], msgspec.msgpack.encode(fields), bytes(6)]
    assert isinstance(decode(parts), Frame)


@pytest.mark.parametrize(
    ("change", "body", "reason"),
    [
        ({"v": 2}, bytes(6), "version"),
        ({"height": 60_000, "width": 60_000}, bytes(6), "body"),
        ({"height": 0}, b"", "header"),
        ({"height": 2**40}, bytes(6), "header"),
        ({"seq": -1}, bytes(6), "header"),
        ({"camera": "top/../.."}, bytes(6), "header"),
        ({"camera": "side"}, bytes(6), "topic"),
        ({"pixel_format": "yuyv"}, bytes(6), "header"),
        ({"type": "pickle"}, bytes(6), "header"),
        ({"truth": [[0.0, 0.0]] * 257}, bytes(6), "header"),
        ({}, None, "body"),
        ({}, bytes(7), "body"),
    ],
)
def test_a_frame_that_the_protocol_forbids_is_refused(change: dict, body: bytes | None, reason: str) -> None:
    header = msgspec.msgpack.encode(msgspec.to_builtins(FRAME) | change)
    with pytest.raises(MalformedMessage) as raised:
        decode([b"frame/top/", header, *([] if body is None else [body])])
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("sensor", "sizes", "reason"),
    [
        (True, [24], "body"),
        (True, [24, 24], "body"),
        (True, [16, 24], "body"),
        (True, [24, 16, 0], "parts"),
        (False, [24, 16], "parts"),
        (False, [], "body"),
        ("yes", [24, 16], "header"),
    ],
)
def test_a_pose_has_the_bodies_that_its_header_says(sensor: object, sizes: list[int], reason: str) -> None:
    header = msgspec.msgpack.encode(msgspec.to_builtins(POSE) | {"sensor": sensor})
    with pytest.raises(MalformedMessage) as raised:
        decode([b"pose/top/", header, *(bytes(size) for size in sizes)])
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    "part", [b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x91" * 60_000]
)
def test_a_length_that_is_only_claimed_allocates_nothing(part: bytes) -> None:
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(MalformedMessage):
        decode([b"frame/top/", part, b""])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_pixels_that_are_not_the_headers_are_refused_before_they_are_sent() -> None:
    with pytest.raises(ValueError, match="the header says"):
        encode_frame(FRAME, PIXELS.reshape(3, 2, 1))
    with pytest.raises(ValueError, match="the header says"):
        encode_pose(POSE, KEYPOINTS[:1])
    with pytest.raises(ValueError, match="the header says"):
        encode_pose(POSE, KEYPOINTS, SENSOR_KEYPOINTS)
    with pytest.raises(ValueError, match="the header says"):
        encode_pose(VIEWED_POSE, KEYPOINTS)


parts = st.lists(st.binary(max_size=300), max_size=5)


@settings(max_examples=300, deadline=None)
@given(parts)
def test_garbage_is_counted_and_dropped(garbage: list[bytes]) -> None:
    decoder = MessageDecoder()
    assert decoder.decode(garbage) is None
    assert decoder.malformed.total() == 1


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(ENCODED)), st.data())
def test_a_damaged_message_is_decoded_or_counted_never_a_crash(kind: str, data: st.DataObject) -> None:
    message = [bytearray(part) for part in ENCODED[kind]()]
    for _ in range(data.draw(st.integers(1, 4))):
        part = data.draw(st.integers(0, len(message) - 1))
        if not message[part]:
            continue
        at = data.draw(st.integers(0, len(message[part]) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "drop"])):
            case "flip":
                message[part][at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del message[part][at:]
            case "insert":
                message[part][at:at] = data.draw(st.binary(min_size=1, max_size=20))
            case "drop" if len(message) > 1:
                del message[part]
    decoder = MessageDecoder()
    decoded = decoder.decode([bytes(part) for part in message])
    assert (decoded is None) == (decoder.malformed.total() == 1)
    if isinstance(decoded, Frame):
        assert decoded.pixels.nbytes == len(message[2])


def test_a_topic_is_no_prefix_of_another_cameras() -> None:
    other = msgspec.structs.replace(FRAME, camera="top2")
    assert not messages.topic_of(other).startswith(messages.topic_of(FRAME))
