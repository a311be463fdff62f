"""What a session came to: counts that must add up, rates, and how old the poses were."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from posestream.stream.closing import CameraTables
from posestream.stream.tables import read_skipped, skipped_frames
from posestream.stream.wire.messages import StreamInfo
from posestream.stream.wire.tables import FrameState

__all__ = ["summarize_camera"]

PERCENTILES = (50, 90, 99)
STAGES = (
    ("exposure_to_sent", "captured_ns", "sent_ns"),
    ("sent_to_received", "sent_ns", "received_ns"),
    ("waiting_for_batch", "received_ns", "batched_ns"),
    ("inference", "batched_ns", "inferred_ns"),
    ("publishing", "inferred_ns", "published_ns"),
    ("published_to_subscriber", "published_ns", "subscribed_ns"),
    ("exposure_to_subscriber", "captured_ns", "subscribed_ns"),
)


def summarize_camera(folder: Path, info: StreamInfo, video: str | None, tables: CameraTables) -> dict[str, Any]:
    """Sum up a camera's folder.

    Parameters
    ----------
    folder
        The camera's folder.
    info
        Its stream.
    video
        Name of the video file; none where it was not recorded.
    tables
        Its tables.

    Returns
    -------
    dict
        JSON: `frames` by state, `pose_states`, `rate_hz`, `video`, `poses`, `latency_ms`, and `unexplained`, frames
        whose fate nobody wrote down, which is 0 unless a process was killed.
    """
    frames, poses = tables.frames, tables.poses
    states = frames["state"].value_counts()
    delivered = frames["seq"].notna()
    summary: dict[str, Any] = {
        "frames": {"captured": int(delivered.sum())} | {s.value: int(states.get(s.value, 0)) for s in FrameState},
        "pose_states": tables.pose_states,
        "rate_hz": {"asked": info.rate_hz, "measured": _rate(frames.loc[delivered, "captured_ns"])},
        "notes": int((frames["note"].fillna("") != "").sum()),
        "size": {"width": info.width, "height": info.height, "pixel_format": info.pixel_format},
    }
    if video is not None and (folder / video).exists():
        recorded, size = int(states.get(FrameState.RECORDED.value, 0)), (folder / video).stat().st_size
        summary["video"] = {
            "file": f"{folder.name}/{video}",
            "bytes": size,
            "compression": round(recorded * info.frame_bytes / size, 1) if size else None,
        }
    if poses is not None:
        summary |= _poses(poses, read_skipped(folder), frames.loc[delivered, "seq"])
    return summary


def _poses(poses: pd.DataFrame, skipped: pd.DataFrame, captured: "pd.Series[Any]") -> dict[str, Any]:
    by_cause = skipped.groupby("cause")["count"].sum()
    explained = set(poses["frame_seq"]).union(skipped_frames(skipped).tolist())
    return {
        "poses": {
            "recorded": len(poses),
            "skipped": {str(cause): int(count) for cause, count in by_cause.items()},
            "unexplained": len(set(captured) - explained),
        },
        "latency_ms": {name: _percentiles(poses[end] - poses[start]) for name, start, end in STAGES}
        if len(poses)
        else {},
        "batch_size": {str(size): int(n) for size, n in poses["batch_size"].value_counts().sort_index().items()},
    }


def _rate(captured_ns: "pd.Series[Any]") -> float | None:
    if len(captured_ns) < 2:
        return None
    span = float(captured_ns.iloc[-1] - captured_ns.iloc[0])
    return round((len(captured_ns) - 1) / span * 1e9, 3) if span > 0 else None


def _percentiles(nanoseconds: "pd.Series[Any]") -> dict[str, float]:
    values = nanoseconds.to_numpy(np.float64) / 1e6
    named = {f"p{p}": round(float(v), 3) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
    return named | {"max": round(float(values.max()), 3)}
