"""The messages of the frame stream and the pose stream; `PROTOCOL.md` is their specification.

A message is a ZeroMQ multipart message of two to four parts: a topic, a msgpack header, and, for frames and poses, a
body of raw numbers (for some poses two). The header says the shape of a body and `MessageDecoder` checks that the
lengths agree before it looks at a single number of it.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from posestream.stream.wire.sensor import SensorPatch
from posestream.stream.wire.settings import MAX_PATCHES

__all__ = [
    "CHANNELS",
    "END",
    "FOUND",
    "MAX_HEADER_BYTES",
    "MAX_PATCHES",
    "PROTOCOL_VERSION",
    "RATE_TOLERANCE",
    "RECONNECTED",
    "SKIPPED",
    "Event",
    "Frame",
    "FrameHeader",
    "Hello",
    "MalformedMessage",
    "Message",
    "MessageDecoder",
    "Name",
    "PixelFormat",
    "Pose",
    "PoseHeader",
    "StreamInfo",
    "decode",
    "encode_event",
    "encode_frame",
    "encode_hello",
    "encode_pose",
    "topic_of",
]

PROTOCOL_VERSION = 1
MAX_HEADER_BYTES = 65_536
MAX_TOPIC_BYTES = 80
MAX_PARTS = 4

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,48}$")]
"""Name of a camera or of another source: letters, digits, `-` and `_`."""

PixelFormat = Literal["gray8", "rgb24", "bgr24"]
"""How a pixel lies in memory; rows follow each other without padding."""

RATE_TOLERANCE = 0.01
"""By how much of the rate asked for a camera's measured rate may differ without a word."""

CHANNELS: dict[str, int] = {"gray8": 1, "rgb24": 3, "bgr24": 3}
"""Bytes of a pixel, and so the last axis of a frame."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Ticks = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Side = Annotated[int, Meta(ge=1, le=65_535)]
Text = Annotated[str, Meta(max_length=2_000)]
Short = Annotated[str, Meta(max_length=200)]
Session = Annotated[str, Meta(max_length=80)]
Value = int | float | str | bool | None

END = "end"
"""Name of the event that closes a camera's frame stream, or a pose stream."""
FOUND = "found"
"""Name of the event that a frame came after it was counted as lost."""
RECONNECTED = "reconnected"
"""Name of the event that a camera that was lost delivers again."""
SKIPPED = "skipped"
"""Name of the event that says which frames got no live pose, and why."""


class _Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    v: int = PROTOCOL_VERSION
    """Version of the protocol."""
    session: Session
    """Id of the session; a new run has a new one."""


class FrameHeader(_Header, frozen=True, kw_only=True, tag="frame"):
    """Header of one raw frame."""

    camera: Name
    frame_seq: Count = msgspec.field(name="seq")
    """Frames that this camera delivered in this session before this one: a jump is a loss on the reader's side."""
    device_id: Count | None
    """The device's own number for the frame, unwrapped; none where it has none."""
    device_time: Ticks | None
    """The device's own time stamp in its own ticks; none where it has none."""
    captured_ns: Nanoseconds
    """Exposure (or, where the device does not tell, arrival) on the monotonic clock of the camera's machine."""
    wall_ns: Nanoseconds
    """The same moment by the wall clock."""
    sent_ns: Nanoseconds
    """When the frame was handed to the socket, monotonic clock of the camera's machine."""
    height: Side
    width: Side
    pixel_format: PixelFormat
    truth: Annotated[tuple[tuple[float, float], ...], Meta(max_length=256)] | None = None
    """True keypoints (x, y in pixels) where the camera is a simulation that knows them."""

    @property
    def seq(self) -> int:
        """`frame_seq`, by the name that it has on the wire and had here before."""
        return self.frame_seq


class PoseHeader(_Header, frozen=True, kw_only=True, tag="pose"):
    """Header of the pose of one frame, with the time stamps of every stage that the frame went through."""

    camera: Name
    pose_seq: Count = msgspec.field(name="seq")
    """Poses of this camera published in this session before this one: a jump is a loss on the reader's side."""
    frame_seq: Count
    """That of the frame."""
    device_id: Count | None
    device_time: Ticks | None
    keypoint_count: Annotated[int, Meta(ge=1, le=4096)] = msgspec.field(name="keypoints")
    """Number of keypoints K; the body is K x 3 float32."""
    sensor: bool = False
    """Whether a second body, K x 2 float32, gives their places on the sensor; if not, they are those of the frame."""
    batch_size: Annotated[int, Meta(ge=1, le=65_535)]
    """Frames that were inferred together with this one, itself included."""
    captured_ns: Nanoseconds
    wall_ns: Nanoseconds
    sent_ns: Nanoseconds
    received_ns: Nanoseconds
    """When inference had the whole frame; from here on the monotonic clock of inference's machine."""
    batched_ns: Nanoseconds
    """When the frame's batch was closed."""
    inferred_ns: Nanoseconds
    """When the engine had given the batch's keypoints back."""
    published_ns: Nanoseconds
    """When the pose was handed to the socket."""

    @property
    def seq(self) -> int:
        """`pose_seq`, by the name that it has on the wire and had here before."""
        return self.pose_seq


class Event(_Header, frozen=True, kw_only=True, tag="event"):
    """Something that a person or a program should know: a loss, a warning, an error, the end of a stream."""

    source: Name
    """The camera that it concerns, or `inference`."""
    time_ns: Nanoseconds
    wall_ns: Nanoseconds
    level: Literal["info", "warning", "error"]
    name: Name
    text: Text
    data: Annotated[dict[Short, Value], Meta(max_length=64)] = {}


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera's frame stream carries, and where it can be subscribed to."""

    camera: Name
    endpoint: Short
    height: Side
    width: Side
    pixel_format: PixelFormat
    rate_hz: float | None = None
    """Frames a second that the camera was asked for; none where it sets its own pace."""
    truth_names: tuple[Short, ...] = ()
    """Names of the keypoints in a frame's `truth`."""
    sensor: Annotated[tuple[SensorPatch, ...], Meta(max_length=MAX_PATCHES)] = ()
    """Where the frame's pixels lie on the sensor; empty: the frame's pixels are the sensor's."""

    @property
    def frame_bytes(self) -> int:
        """Bytes of one raw frame."""
        return self.height * self.width * CHANNELS[self.pixel_format]


class Hello(_Header, frozen=True, kw_only=True, tag="hello"):
    """Who publishes here and what: sent to each new subscriber and once a second."""

    source: Name
    role: Literal["frames", "poses"]
    clock: Short
    """Machine whose monotonic clock the stamps are of."""
    streams: Annotated[tuple[StreamInfo, ...], Meta(max_length=256)]
    """The camera itself, or the cameras whose frames are inferred."""
    bodyparts: Annotated[tuple[Short, ...], Meta(max_length=4096)] = ()
    """Names of the keypoints, in the order of a pose's rows."""
    skeleton: Annotated[tuple[tuple[Short, Short], ...], Meta(max_length=4096)] = ()
    scorer: Text = ""
    """DeepLabCut's name for the network that made the poses."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame as received: its header and its pixels."""

    header: FrameHeader
    pixels: NDArray[np.uint8]
    """(height, width, channels) uint8; read-only when it came from a socket."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A pose as received: its header and its keypoints."""

    header: PoseHeader
    keypoints: NDArray[np.float32]
    """(K, 3) float32: x and y in pixels of the recorded frame, (0, 0) being the centre of the upper left one, and
    likelihood 0 to 1."""
    sensor_keypoints: NDArray[np.float32]
    """(K, 2) float32: x and y in pixels of the camera's sensor, counted in the same way."""


Message = Frame | Pose | Event | Hello
Header = FrameHeader | PoseHeader | Event | Hello
Part = bytes | bytearray | memoryview

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Header)


class MalformedMessage(ValueError):
    """A message that the protocol does not allow.

    Parameters
    ----------
    reason
        One word for the counter: `parts`, `topic`, `header`, `version` or `body`.
    text
        What is wrong.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason


def topic_of(header: Header) -> bytes:
    """Topic of a message: kind, source and a closing slash, so that `pose/top/` is not a prefix of `pose/top2/`."""
    match header:
        case FrameHeader(camera=source):
            kind = "frame"
        case PoseHeader(camera=source):
            kind = "pose"
        case Event(source=source):
            kind = "event"
        case Hello(source=source):
            kind = "hello"
    return f"{kind}/{source}/".encode()


def encode_frame(header: FrameHeader, pixels: NDArray[np.uint8]) -> list[bytes | memoryview]:
    """Encode a frame without copying its pixels.

    Parameters
    ----------
    header
        Its `height`, `width` and `pixel_format` are those of `pixels`.
    pixels
        (height, width, channels) uint8, contiguous; must not change until the socket has let go of it.

    Raises
    ------
    ValueError
        Where the pixels are not contiguous uint8 of the header's shape.
    """
    shape = (header.height, header.width, CHANNELS[header.pixel_format])
    if pixels.shape != shape or pixels.dtype != np.uint8 or not pixels.flags.c_contiguous:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, the header says contiguous uint8 {shape}")
    return [topic_of(header), _encoder.encode(header), pixels.data.cast("B")]


def encode_pose(
    header: PoseHeader, keypoints: NDArray[np.float32], sensor_keypoints: NDArray[np.floating] | None = None
) -> list[bytes | memoryview]:
    """Encode a pose.

    Parameters
    ----------
    header
        Its `keypoint_count` is K.
    keypoints
        (K, 3): x, y in pixels of the frame, likelihood.
    sensor_keypoints
        (K, 2): x, y in pixels of the sensor, where the header says `sensor`, and only there.

    Raises
    ------
    ValueError
        Where a shape is another, or the header says otherwise.
    """
    bodies = [keypoints] if sensor_keypoints is None else [keypoints, sensor_keypoints]
    shapes, expected = [body.shape for body in bodies], _pose_shapes(header)
    if shapes != expected:
        raise ValueError(f"keypoints are {shapes}, the header says {expected}")
    return [topic_of(header), _encoder.encode(header), *(body.astype("<f4", copy=False).tobytes() for body in bodies)]


def encode_event(event: Event) -> list[bytes | memoryview]:
    """Encode an event: topic and header."""
    return [topic_of(event), _encoder.encode(event)]


def encode_hello(hello: Hello) -> list[bytes | memoryview]:
    """Encode a hello: topic and header."""
    return [topic_of(hello), _encoder.encode(hello)]


def decode(parts: Sequence[Part]) -> Message:
    """Decode a message; the body is looked at only after its length is known to be right.

    Parameters
    ----------
    parts
        The parts of the multipart message. The arrays of the result share memory with the last one.

    Raises
    ------
    MalformedMessage
        Where `PROTOCOL.md` does not allow the message.
    """
    if not 2 <= len(parts) <= MAX_PARTS:
        raise MalformedMessage("parts", f"{len(parts)} parts, not 2 to {MAX_PARTS}")
    if len(parts[0]) > MAX_TOPIC_BYTES:
        raise MalformedMessage("topic", f"{len(parts[0])} bytes")
    header = _decode_header(parts[1])
    if bytes(parts[0]) != topic_of(header):
        raise MalformedMessage("topic", "is not that of the header")
    bodies = parts[2:]
    match header:
        case FrameHeader():
            shape = (header.height, header.width, CHANNELS[header.pixel_format])
            (pixels,) = _bodies(bodies, [shape], np.dtype(np.uint8))
            return Frame(header, pixels)
        case PoseHeader():
            keypoints, *sensor = _bodies(bodies, _pose_shapes(header), np.dtype("<f4"))
            return Pose(header, keypoints, sensor[0] if sensor else keypoints[:, :2])
        case _:
            if bodies:
                raise MalformedMessage("parts", "an event or a hello has no body")
            return header


def _pose_shapes(header: PoseHeader) -> list[tuple[int, ...]]:
    count = header.keypoint_count
    return [(count, 3), (count, 2)] if header.sensor else [(count, 3)]


def _decode_header(part: Part) -> Header:
    if len(part) > MAX_HEADER_BYTES:
        raise MalformedMessage("header", f"{len(part)} bytes, more than {MAX_HEADER_BYTES}")
    try:
        header: Header = _decoder.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage("header", str(error)) from None
    if header.v != PROTOCOL_VERSION:
        raise MalformedMessage("version", f"{header.v}, not {PROTOCOL_VERSION}")
    return header


def _bodies(parts: Sequence[Part], shapes: list[tuple[int, ...]], dtype: "np.dtype[Any]") -> list[NDArray[Any]]:
    if len(parts) > len(shapes):
        raise MalformedMessage("parts", f"{len(parts)} bodies, the header says {len(shapes)}")
    sizes = [dtype.itemsize * math.prod(shape) for shape in shapes]
    if [len(part) for part in parts] != sizes:
        raise MalformedMessage("body", f"{[len(part) for part in parts]} bytes, the header says {sizes}")
    return [np.frombuffer(part, dtype).reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


class MessageDecoder:
    """Decodes what arrives, and counts and drops what the protocol does not allow."""

    def __init__(self) -> None:
        self.malformed: Counter[str] = Counter()
        """Messages dropped, by the reason of `MalformedMessage`."""

    def decode(self, parts: Sequence[Part]) -> Message | None:
        """Decode a message, or count it and give none."""
        try:
            return decode(parts)
        except MalformedMessage as error:
            self.malformed[error.reason] += 1
            return None
