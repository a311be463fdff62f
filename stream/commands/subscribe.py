"""`posestream subscribe`: live poses as a table or as JSON lines."""

import json
import math
import sys
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.stream.subscribers import PoseSubscriber
from posestream.stream.wire.clock import clock_name, monotonic_ns
from posestream.stream.wire.keys import load_keys
from posestream.stream.wire.messages import Event, Pose

__all__ = ["pose_line", "show_poses"]

RATE_POSES = 60


def show_poses(
    endpoint: str,
    *,
    camera: str | None,
    latest: bool,
    as_json: bool,
    events: bool,
    follow: bool,
    timeout_s: float | None,
    keys: Path | None,
) -> int:
    """Show poses until the session ends or somebody interrupts; gives the exit status.

    Raises
    ------
    EndpointError, KeysError
        Where the address or the keys can't be used.
    """
    loaded = load_keys(keys) if keys is not None else None
    mode: Any = "latest" if latest else "every"
    poses = PoseSubscriber(endpoint, camera=camera, mode=mode, timeout_s=timeout_s, follow=follow, keys=loaded)
    with poses:
        try:
            _print_lines(poses, events) if as_json else _show_table(poses, endpoint)
        except TimeoutError as error:
            print(f"error: {endpoint}: {error}", file=sys.stderr)  # noqa: T201
            return 1
        except KeyboardInterrupt:
            pass
        lost = poses.lost.total()
        print(f"{poses.received} poses received, {lost} lost, {poses.passed_over} passed over", file=sys.stderr)  # noqa: T201
        return 1 if lost else 0


def pose_line(pose: Pose, bodyparts: tuple[str, ...]) -> dict[str, Any]:
    """Give a pose as JSON: its header's keys, and keypoints by name.

    `keypoints` are [name, x, y, likelihood] rows in the frame, `sensor_keypoints` [name, x, y] rows on the sensor.
    """
    names = bodyparts or tuple(str(index) for index in range(len(pose.keypoints)))
    points = {"keypoints": pose.keypoints, "sensor_keypoints": pose.sensor_keypoints}
    header: dict[str, Any] = msgspec.to_builtins(pose.header)
    return header | {key: _rows(names, values) for key, values in points.items()}


def _rows(names: tuple[str, ...], values: NDArray[np.float32]) -> list[list[str | float | None]]:
    return [
        [name, *(round(float(value), 4) if math.isfinite(value) else None for value in row)]
        for name, row in zip(names, values, strict=False)
    ]


def _print_lines(poses: PoseSubscriber, events: bool) -> None:
    for pose in poses:
        if events:
            _print_events(poses.events)
        bodyparts = poses.hello.bodyparts if poses.hello is not None else ()
        print(json.dumps(pose_line(pose, bodyparts)), flush=True)  # noqa: T201
    if events:
        _print_events(poses.events)


def _print_events(events: "deque[Event]") -> None:
    while events:
        event = events.popleft()
        print(json.dumps(msgspec.to_builtins(event)), flush=True)  # noqa: T201


def _show_table(poses: PoseSubscriber, endpoint: str) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table

    stamps: deque[int] = deque(maxlen=RATE_POSES)
    with Live(f"waiting for poses at {endpoint} (Ctrl-C ends)", console=Console(), refresh_per_second=10) as live:
        for pose in poses:
            header, hello = pose.header, poses.hello
            stamps.append(header.captured_ns)
            rate = (len(stamps) - 1) / max(1, stamps[-1] - stamps[0]) * 1e9
            same = hello is not None and hello.clock == clock_name()
            age = f"{(monotonic_ns() - header.captured_ns) / 1e6:.1f} ms old" if same else "age unknown (other machine)"
            table = Table("body part", "x px", "y px", "likelihood")
            names = hello.bodyparts if hello is not None else tuple(map(str, range(len(pose.keypoints))))
            for name, (x, y, likelihood) in zip(names, pose.keypoints, strict=False):
                table.add_row(name, f"{x:.1f}", f"{y:.1f}", f"{likelihood:.3f}")
            text = (
                f"camera {header.camera}, frame {header.frame_seq}, {age}, {rate:.1f} poses/s, "
                f"{poses.received} received, {poses.lost.total()} lost"
            )
            live.update(Group(text, table))
