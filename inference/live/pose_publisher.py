"""The pose stream: poses, the frames that got none, and who publishes here."""

import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import zmq

from posestream.inference.live.batcher import SkippedRun
from posestream.inference.pose import FramePose
from posestream.stream.wire.clock import clock_name, monotonic_ns, wall_ns
from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import (
    END,
    SKIPPED,
    Event,
    Hello,
    PoseHeader,
    StreamInfo,
    encode_event,
    encode_hello,
    encode_pose,
)
from posestream.stream.wire.sensor import to_sensor
from posestream.stream.wire.sockets import Publisher

__all__ = ["PosePublisher"]

QUEUE_BYTES, MESSAGE_BYTES = 64 * 2**20, 2_048
HELLO_NS = 1_000_000_000
AGES = 500


class PosePublisher:
    """Publishes poses one by one; two threads use it, one at a time.

    Parameters
    ----------
    context
        The process's context.
    endpoint
        Address to bind.
    session
        The session's id.
    streams
        The cameras whose frames are inferred.
    bodyparts, skeleton, scorer
        Of the network, for greetings.
    keys
        Needed for an address that other machines can reach.

    Raises
    ------
    EndpointError
        Where the address can't be bound.
    """

    def __init__(
        self,
        context: "zmq.Context[Any]",
        endpoint: str,
        *,
        session: str,
        streams: Sequence[StreamInfo],
        bodyparts: Sequence[str],
        skeleton: Sequence[tuple[str, str]],
        scorer: str,
        keys: Keys | None,
    ) -> None:
        self._publisher = Publisher(context, endpoint, queue_bytes=QUEUE_BYTES, message_bytes=MESSAGE_BYTES, keys=keys)
        self.endpoint = self._publisher.endpoint
        self._session = session
        self._patches = {info.camera: info.sensor for info in streams}
        self._hello = Hello(
            session=session,
            source="inference",
            role="poses",
            clock=clock_name(),
            streams=tuple(streams),
            bodyparts=tuple(bodyparts),
            skeleton=tuple(skeleton),
            scorer=scorer,
        )
        self._greeted_ns = 0
        self._lock = threading.Lock()
        self.published: Counter[str] = Counter()
        """Poses published, by camera."""
        self.ages_ms: deque[float] = deque(maxlen=AGES)
        """Exposure to publication of the last poses, milliseconds."""

    @property
    def unsent(self) -> int:
        """Messages that some reader's queue had no room for."""
        return self._publisher.unsent

    @property
    def malformed(self) -> int:
        """Messages from readers that were no subscriptions."""
        return self._publisher.malformed

    @property
    def refused(self) -> int:
        """Connections that were not let in."""
        return self._publisher.refused

    def pose(self, pose: FramePose) -> None:
        """Publish a pose."""
        frame = pose.frame
        patches = self._patches[frame.camera]
        on_sensor = to_sensor(patches, pose.keypoints[:, :2]) if patches else None
        with self._lock:
            published_ns = monotonic_ns()
            header = PoseHeader(
                session=self._session,
                camera=frame.camera,
                pose_seq=self.published[frame.camera],
                frame_seq=frame.frame_seq,
                device_id=frame.device_id,
                device_time=frame.device_time,
                keypoint_count=len(pose.keypoints),
                sensor=on_sensor is not None,
                batch_size=pose.batch_size,
                captured_ns=frame.captured_ns,
                wall_ns=frame.wall_ns,
                sent_ns=frame.sent_ns,
                received_ns=pose.received_ns,
                batched_ns=pose.batched_ns,
                inferred_ns=pose.inferred_ns,
                published_ns=published_ns,
            )
            self._publisher.send(encode_pose(header, pose.keypoints, on_sensor))
            self.published[frame.camera] += 1
            self.ages_ms.append((published_ns - frame.captured_ns) / 1e6)

    def skipped(self, runs: Iterable[SkippedRun]) -> None:
        """Say which frames get no pose, and why."""
        for run in runs:
            text = f"camera {run.camera}: no live pose for frames {run.first_seq} to {run.last_seq} ({run.cause})"
            data = {"first_seq": run.first_seq, "last_seq": run.last_seq, "count": run.count, "cause": run.cause}
            self.event(run.camera, SKIPPED, text, data)

    def end(self) -> None:
        """Say that no more poses will come."""
        data = {f"poses_{camera}": count for camera, count in self.published.items()}
        self.event("inference", END, "the pose stream ended", data)

    def event(
        self, source: str, name: str, text: str, data: dict[str, Any], level: Literal["info", "warning"] = "info"
    ) -> Event:
        """Make an event and publish it."""
        event = Event(
            session=self._session,
            source=source,
            time_ns=monotonic_ns(),
            wall_ns=wall_ns(),
            level=level,
            name=name,
            text=text,
            data=data,
        )
        with self._lock:
            self._publisher.send(encode_event(event))
        return event

    def greet(self) -> None:
        """Say who publishes here, to new subscribers at once and to all once a second."""
        with self._lock:
            now = monotonic_ns()
            if self._publisher.new_subscriptions() or now - self._greeted_ns > HELLO_NS:
                self._greeted_ns = now
                self._publisher.send(encode_hello(self._hello))

    def close(self) -> None:
        """Close the socket; what waits for readers that still read goes out within two seconds."""
        with self._lock:
            self._publisher.close()
