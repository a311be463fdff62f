"""What a session came to: counts that must add up, rates, and how old the poses were."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from posestream.stream.disk.notes import DEVICE_ID_NOTES, Note, gap_s
from posestream.stream.disk.tables import FrameState
from posestream.stream.session.closing import CameraTables
from posestream.stream.session.session_record import known
from posestream.stream.session.summary_record import (
    CameraSummary,
    ClockSummary,
    GapSummary,
    PoseSummary,
    RateSummary,
    SizeSummary,
    VideoSummary,
)
from posestream.stream.session.tables import noted, read_skipped, read_truth, skipped_frames
from posestream.stream.session.truth import pose_error
from posestream.stream.wire.counters import CameraCounters
from posestream.stream.wire.messages import RATE_TOLERANCE, StreamInfo

__all__ = ["summarize_camera"]

ENDS = tuple(state for state in FrameState if state is not FrameState.DELIVERED)
"""States in which a session that was closed leaves its frames."""
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


def summarize_camera(
    folder: Path, info: StreamInfo, video: str | None, tables: CameraTables, counters: CameraCounters | None
) -> CameraSummary:
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
    counters
        What its process counted; None where nobody knows it any more. Then the tables alone say what they can, and
        the rest is None.

    Returns
    -------
    CameraSummary
        Without what the tables do not tell: files, counters, windows.
    """
    frames, poses, asked_hz = tables.frames, tables.poses, counters.rate_asked_hz if counters is not None else None
    states = frames["state"].value_counts()
    delivered = frames["seq"].notna()
    summary = CameraSummary(
        frames={"captured": int(delivered.sum())} | {s.value: int(states.get(s.value, 0)) for s in ENDS},
        pose_states=tables.pose_states,
        rate_hz=RateSummary(asked=info.rate_hz, measured=_rate(frames)),
        gaps=_gaps(frames, counters),
        notes=int((frames["note"].fillna("") != "").sum()),
        size=SizeSummary(width=info.width, height=info.height, pixel_format=info.pixel_format),
        video=_video(folder, video, info, int(states.get(FrameState.RECORDED.value, 0))),
        clock=_clock(frames, counters),
    )
    summary = replace(summary, remarks=list(_remarks(summary, asked_hz)))
    if poses is None:
        return summary
    truth = read_truth(folder)
    error = pose_error(poses, truth) if truth is not None else None
    return replace(
        summary,
        poses=_poses(poses, read_skipped(folder), frames.loc[delivered, "seq"]),
        latency_ms={name: _percentiles(poses[end] - poses[start]) for name, start, end in STAGES} if len(poses) else {},
        batch_size={str(size): int(n) for size, n in poses["batch_size"].value_counts().sort_index().items()},
        pose_error=error if error is not None else UNSET,
    )


def _video(folder: Path, video: str | None, info: StreamInfo, recorded: int) -> VideoSummary | UnsetType:
    if video is None or not (folder / video).exists():
        return UNSET
    size = (folder / video).stat().st_size
    compression = round(recorded * info.frame_bytes / size, 1) if size else None
    return VideoSummary(file=f"{folder.name}/{video}", bytes=size, compression=compression)


def _clock(frames: pd.DataFrame, counters: CameraCounters | None) -> ClockSummary | UnsetType:
    residual = (frames["arrived_ns"] - frames["captured_ns"]).dropna()
    has_clock = counters.clock_restarts is not None if counters is not None else residual.any()
    if not has_clock:
        return UNSET
    return ClockSummary(
        drift_ppm=counters.clock_drift_ppm if counters is not None else None,
        restarts=counters.clock_restarts if counters is not None else None,
        residual_ms=_percentiles(residual) if len(residual) else {},
    )


def _poses(poses: pd.DataFrame, skipped: pd.DataFrame, captured: "pd.Series[int]") -> PoseSummary:
    by_cause = skipped.groupby("cause")["count"].sum()
    explained = set(poses["frame_seq"]).union(skipped_frames(skipped).tolist())
    return PoseSummary(
        recorded=len(poses),
        skipped={str(cause): int(count) for cause, count in by_cause.items()},
        unexplained=len(set(captured) - explained),
    )


def _gaps(frames: pd.DataFrame, counters: CameraCounters | None) -> GapSummary:
    if counters is not None:
        return GapSummary(count=counters.disconnects, ms=int(counters.gap_ms))
    seconds = [gap for note in frames["note"].dropna() if (gap := gap_s(note)) is not None]
    return GapSummary(count=len(seconds), ms=round(sum(seconds) * 1e3))


def _rate(frames: pd.DataFrame) -> float | None:
    """Frames a second that the device exposed, those that it lost included, gaps and odd numbers left out."""
    captured = frames["captured_ns"].notna().to_numpy()
    times, rows = frames["captured_ns"].dropna().to_numpy(np.int64), np.flatnonzero(captured)
    # A frame that came late has its step where it was missing
    sound = ~noted(frames, *DEVICE_ID_NOTES, Note.RECONNECTED)[captured][1:]
    span = int(np.diff(times)[sound].sum())
    return round(int(np.diff(rows)[sound].sum()) / span * 1e9, 3) if span > 0 else None


def _remarks(summary: CameraSummary, asked: float | None) -> Iterator[str]:
    captured, rate = known(summary.frames, {})["captured"], known(summary.rate_hz, None)
    measured = rate.measured if rate is not None else None
    if asked and measured and captured > measured and abs(measured / asked - 1) > RATE_TOLERANCE:
        yield f"asked for {asked:g} frames a second, the camera gave {measured:.2f}"
    if (gaps := known(summary.gaps, None)) is not None and gaps.count:
        yield f"the camera was lost (times: {gaps.count}); {gaps.ms / 1e3:.1f} s have no frames"
    if (clock := known(summary.clock, None)) is not None and clock.restarts:
        yield f"the camera's clock jumped or began anew (times: {clock.restarts})"


def _percentiles(nanoseconds: "pd.Series[int]") -> dict[str, float]:
    values = nanoseconds.to_numpy(np.float64) / 1e6
    named = {f"p{p}": round(float(v), 3) for p, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}
    return named | {"max": round(float(values.max()), 3)}
