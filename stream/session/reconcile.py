"""Makes the tables of a camera agree with its video after a process was killed, or the power failed.

A kill can come between the video and its row, and between a frame and its pose; a power failure cuts each file at a
place of its own. What is known of each frame is put down; what is changed is kept as it was in the folder
`before-recovery`, of a video what was cut off.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from posestream.stream.disk.durable import replacing
from posestream.stream.disk.frame_merge import PACKETS, merge_frame_tables
from posestream.stream.disk.notes import Note, join_notes
from posestream.stream.disk.tables import (
    FRAME_COLUMNS,
    SKIPPED_COLUMNS,
    FrameState,
    TableWriter,
    pose_columns,
    whole_lines,
)
from posestream.stream.session.tables import (
    number_runs,
    read_frames,
    read_poses,
    read_skipped,
    read_truth,
    skipped_frames,
)
from posestream.stream.session.video_end import repair_video_end
from posestream.stream.session.video_times import TOLERANCE_US, DecodedVideo, decode_video

__all__ = ["INTERRUPTED", "cut_tables", "cut_to_whole_lines", "left_open", "reconcile_camera"]

ORIGINALS = "before-recovery"
TABLES = ("frames.csv", PACKETS, "poses.csv", "skipped.csv", "backfilled.csv", "truth.csv")
"""Of a run; others in a camera's folder are somebody's own."""
LOST_ROW = {"state": FrameState.INTERRUPTED.value, "note": Note.FROM_POSES.text()}
COUNTED_ROW = {"state": FrameState.INTERRUPTED.value, "note": Note.FROM_COUNTER.text()}
INTERRUPTED = "interrupted"
"""Cause of a frame without a pose whose process was killed before it could say why."""


def cut_tables(folder: Path) -> list[Path]:
    """Tables and logs of a folder whose last line has no end, or that have holes."""
    tables = [*sorted(folder.glob("*.csv")), *folder.glob("events.jsonl")]
    return [table for table in tables if len(whole_lines(table)) != table.stat().st_size]


def cut_to_whole_lines(folder: Path) -> list[str]:
    """Cut the tables and logs of a folder to their whole lines; gives what was done, a sentence each.

    Raises
    ------
    OSError
        Where the folder can't be written.
    """
    tables = cut_tables(folder)
    for table in tables:
        _cut(table)
    return [f"{table.name} was cut to its last whole line" for table in tables]


def left_open(folder: Path) -> bool:
    """Whether the camera's process ended without having made its frame table whole."""
    return (folder / PACKETS).exists() or any(table.name in TABLES for table in cut_tables(folder))


def reconcile_camera(
    folder: Path, video: str | None, *, bodyparts: Sequence[str] | None, captured: int = 0
) -> list[str]:
    """Make `frames.csv` say what is in the video, and `skipped.csv` which frames got no pose.

    Parameters
    ----------
    folder
        The camera's folder.
    video
        Name of the video; none where it was not recorded.
    bodyparts
        Of the network; none where poses were not asked for.
    captured
        Frames that the camera's process said that it had delivered.

    Returns
    -------
    list of str
        What was done, a sentence each; nothing where all agreed.

    Raises
    ------
    OSError
        Where the folder can't be read or written.
    """
    done = cut_to_whole_lines(folder)
    done += [f"{table} was missing and has been made" for table in _make_missing(folder, bodyparts)]
    if (folder / PACKETS).exists():
        for name in ("frames.csv", PACKETS):
            _keep(folder / name)
        merge_frame_tables(folder)
    frames = before = read_frames(folder)
    if video is not None:
        frames, texts = _video(folder, video, frames)
        done += texts
    if bodyparts is not None:
        frames, texts = _with_poses(folder, frames)
        done += texts
    captured = max(captured, _drawn(folder))
    if (missing := captured - _next_seq(frames)) > 0:
        frames = _append(frames, {"seq": range(_next_seq(frames), captured)}, COUNTED_ROW)
        done.append(f"{missing} frames were delivered and had no row in frames.csv; they have rows now")
    if bodyparts is not None:
        done += _word_for_silent(folder, frames)
    if frames is not before:
        _keep(folder / "frames.csv")
        _replace(folder / "frames.csv", frames)
    return done


def _drawn(folder: Path) -> int:
    """Give how many frames a simulated camera has delivered by its table of true keypoints; 0 where there is none."""
    truth = read_truth(folder)
    return int(truth["seq"].max()) + 1 if truth is not None and len(truth) else 0


def _video(folder: Path, video: str, frames: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Cut the video to its last whole frame, and make the rows say what is in it."""
    path, decoded = folder / video, DecodedVideo(np.array([], np.int64), np.array([], np.int64), "")
    done: list[str] = []
    recorded = bool((frames["state"] == FrameState.RECORDED.value).any())
    if path.exists():
        whole, done = repair_video_end(path, folder / ORIGINALS)
        decoded = decode_video(path)
        if decoded.problem and len(decoded.times_us):
            done.append(decoded.problem)
        elif decoded.problem and whole and recorded:
            frames, texts = _interrupted(frames)
            return frames, [*done, f"{decoded.problem}; its rows were left as they are", *texts]
        elif decoded.problem:  # everything stopped before the first frame
            path.replace(_originals(folder) / video)
            done.append(f"{video} had no frame and was moved to {ORIGINALS}")
    elif recorded:
        done.append(f"{video} is missing")
    poses = read_poses(folder) if (folder / "poses.csv").exists() else None
    frames, texts = _with_video(frames, decoded, TOLERANCE_US[path.suffix], poses)
    done += texts
    frames, texts = _interrupted(frames)
    return frames, done + texts


def _interrupted(frames: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Say of the frames that were delivered and are not in the video that they waited for the encoder."""
    waited = frames.index[frames["state"] == FrameState.DELIVERED.value]
    if not len(waited):
        return frames, []
    frames = frames.copy()
    frames.loc[waited, "state"] = FrameState.INTERRUPTED.value
    frames.loc[waited, "note"] = _noted(frames.loc[waited, "note"], Note.WAITED)
    return frames, [f"{len(waited)} frames {Note.WAITED.text()}, and are not in the video"]


def _noted(notes: "pd.Series[str]", note: Note) -> list[str]:
    return [join_notes((text, note.text())) for text in notes.fillna("")]


def _make_missing(folder: Path, bodyparts: Sequence[str] | None) -> Iterator[str]:
    """Make the tables that a process was killed before it could make."""
    tables: dict[str, Sequence[str]] = {"frames.csv": FRAME_COLUMNS}
    if bodyparts is not None:
        tables |= {"poses.csv": pose_columns(bodyparts), "skipped.csv": SKIPPED_COLUMNS}
    for name, columns in tables.items():
        if not (folder / name).exists() or not (folder / name).stat().st_size:
            (folder / name).unlink(missing_ok=True)
            TableWriter(folder / name, columns).close()
            yield name


def _with_video(
    frames: pd.DataFrame, decoded: DecodedVideo, tolerance_us: int, poses: pd.DataFrame | None
) -> tuple[pd.DataFrame, list[str]]:
    times_us = decoded.times_us
    recorded = frames.index[frames["state"] == FrameState.RECORDED.value]
    missing, done = recorded[len(times_us) :], []
    if len(missing):
        pts_us = frames.loc[recorded, "pts_us"].to_numpy(np.int64)
        if (np.abs(pts_us[: len(times_us)] - times_us) > tolerance_us).any():  # the hole is not at the end
            place = np.searchsorted(times_us, pts_us - tolerance_us).clip(max=len(times_us) - 1)
            missing = recorded[np.abs(times_us[place] - pts_us) > tolerance_us]
        frames = frames.copy()
        frames.loc[missing, [name for name in ("video_frame", "pts_us", "crc32") if name in frames]] = pd.NA
        refused = (frames["state"] == FrameState.ENCODER_ERROR.value).any()
        frames.loc[missing, "state"] = (FrameState.ENCODER_ERROR if refused else FrameState.INTERRUPTED).value
        frames.loc[missing, "note"] = _noted(frames.loc[missing, "note"], Note.NOT_IN_VIDEO)
        left = recorded.difference(missing)
        frames.loc[left, "video_frame"] = np.arange(len(left))
        done.append(f"{len(missing)} rows of frames.csv are not in the video and say so now")
    if len(times_us) > len(recorded):
        frames, number = _delivered_in_video(frames, decoded, recorded, tolerance_us)
        if number:
            done.append(f"{number} frames that were delivered are in the video; their rows say so now")
        recorded = frames.index[frames["state"] == FrameState.RECORDED.value]
    if len(extra := times_us[len(recorded) :]):
        rows = _rows_of_extra(frames, extra, len(recorded), _poses_behind(frames, extra, poses, tolerance_us))
        if "crc32" in frames:
            rows.loc[rows["state"] == FrameState.RECORDED.value, "crc32"] = _hexadecimal(decoded.crc32[len(recorded) :])
        frames = pd.concat([frames.astype(object), rows.reindex(columns=frames.columns)], ignore_index=True)
        done.append(f"{len(extra)} frames of the video had no row in frames.csv and have one now")
    return frames, done


def _delivered_in_video(
    frames: pd.DataFrame, decoded: DecodedVideo, recorded: "pd.Index[int]", tolerance_us: int
) -> tuple[pd.DataFrame, int]:
    """Give frames of the video that the tables do not know to rows of delivered frames, of which nothing else is known.

    The encoder takes frames in the order in which they are delivered and gives them back in that order. A row whose
    time is that of the frame is its row; where none is, because the time was repaired, it is the next.
    """
    behind, first = int(recorded[-1]) if len(recorded) else -1, len(recorded)
    rows = frames.index[(frames["state"] == FrameState.DELIVERED.value) & (frames.index > behind)]
    extra_us = decoded.times_us[first:]
    if not len(rows) or not len(extra_us):
        return frames, 0
    captured_ns = frames.loc[rows, "captured_ns"].to_numpy(np.int64)
    offset_ns = _offset_ns(frames, tolerance_us) if first else int(captured_ns[0] - 1_000 * extra_us[0])
    expected_us = (captured_ns - offset_ns) / 1_000 if offset_ns is not None else np.full(len(rows), np.nan)
    found: list[int] = []
    for time_us in extra_us.tolist():
        begin = found[-1] + 1 if found else 0
        fitting = np.flatnonzero(np.abs(expected_us[begin:] - time_us) <= tolerance_us + 1)
        place = begin + (int(fitting[0]) if len(fitting) else 0)
        if place >= len(rows):
            break
        found.append(place)
    frames, there, places = frames.copy(), rows[found], slice(first, first + len(found))
    frames.loc[there, "video_frame"] = np.arange(first, first + len(found))
    frames.loc[there, "pts_us"] = decoded.times_us[places]
    frames.loc[there, "crc32"] = _hexadecimal(decoded.crc32[places])
    frames.loc[there, "state"] = FrameState.RECORDED.value
    guessed = there[~(np.abs(expected_us[found] - decoded.times_us[places]) <= tolerance_us + 1)]
    frames.loc[guessed, "note"] = _noted(frames.loc[guessed, "note"], Note.FROM_VIDEO)
    return frames, len(found)


def _offset_ns(frames: pd.DataFrame, tolerance_us: int) -> int | None:
    """Time of capture at which the video has its time 0, by its last frames.

    None where times in the video do not follow from those of capture, as where a video was played.
    """
    last = frames.loc[frames["state"] == FrameState.RECORDED.value, ["captured_ns", "pts_us"]].dropna().tail(10)
    offset_ns = (last["captured_ns"] - 1_000 * last["pts_us"]).to_numpy(np.int64)
    return int(offset_ns[-1]) if len(last) and np.ptp(offset_ns) <= 1_000 * (tolerance_us + 1) else None


def _hexadecimal(crc32: NDArray[np.int64]) -> list[str]:
    return [f"{one:08x}" for one in crc32.tolist()]


def _poses_behind(
    frames: pd.DataFrame, extra_us: NDArray[np.int64], poses: pd.DataFrame | None, tolerance_us: int
) -> dict[int, tuple[int, int | None]]:
    """Say of each pose behind the table's end when its frame was captured, and which frame of the video that is.

    None where no frame of the video has that time: the frame was lost. Nothing is said where times in the video do not
    follow from those of capture, as where a video was played.
    """
    offset_ns = _offset_ns(frames, tolerance_us)
    if poses is None or offset_ns is None:
        return {}
    behind = poses.loc[poses["frame_seq"] >= _next_seq(frames), ["frame_seq", "captured_ns"]].dropna()
    times_us = (behind["captured_ns"].to_numpy(np.int64) - offset_ns) / 1_000
    found: dict[int, tuple[int, int | None]] = {}
    for seq, captured_ns, time_us in zip(behind["frame_seq"], behind["captured_ns"], times_us, strict=True):
        place = int(np.abs(extra_us - time_us).argmin())
        there = abs(extra_us[place] - time_us) <= tolerance_us + 1
        if there or time_us < extra_us[-1]:
            found[int(seq)] = (int(captured_ns), place if there else None)
    return found


def _rows_of_extra(
    frames: pd.DataFrame, extra_us: NDArray[np.int64], first: int, poses: dict[int, tuple[int, int | None]]
) -> pd.DataFrame:
    """Give frames of the video behind the table's end numbers: of the poses with their times, and else one by one."""
    seqs = {place: seq for seq, (_, place) in poses.items() if place is not None}
    seq, rows = _next_seq(frames), []
    for place, pts_us in enumerate(extra_us.tolist()):
        while seq < seqs.get(place, seq) or poses.get(seq, (0, place))[1] != place:
            rows.append({"seq": seq, "captured_ns": poses.get(seq, (None,))[0]} | LOST_ROW)
            seq += 1
        there = {"seq": seq, "captured_ns": poses.get(seq, (None,))[0], "video_frame": first + place, "pts_us": pts_us}
        rows.append(there | {"state": FrameState.RECORDED.value, "note": Note.FROM_VIDEO.text()})
        seq += 1
    return pd.DataFrame(rows, dtype=object)


def _with_poses(folder: Path, frames: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    poses, skipped, done = read_poses(folder), read_skipped(folder), []
    fates = set(poses["frame_seq"]).union(skipped_frames(skipped).tolist())
    unknown = sorted(seq for seq in fates if seq >= _next_seq(frames))
    if unknown:
        # They were published and never reached the video: the camera's process was killed with them in its queue.
        seqs = range(_next_seq(frames), unknown[-1] + 1)
        known = poses.set_index("frame_seq").reindex(seqs)
        rows = {"seq": seqs, "device_id": known["device_id"].tolist(), "captured_ns": known["captured_ns"].tolist()}
        frames = _append(frames, rows, LOST_ROW)
        done.append(f"{len(seqs)} frames were delivered and are not in the video; they have rows now")
    return frames, done


def _word_for_silent(folder: Path, frames: pd.DataFrame) -> list[str]:
    """Say in `skipped.csv` of the frames of which nobody said why they have no pose that their run was cut off."""
    poses, skipped, done = read_poses(folder), read_skipped(folder), []
    fates = set(poses["frame_seq"]).union(skipped_frames(skipped).tolist())
    silent = sorted(set(frames["seq"].dropna()) - fates)
    if silent:
        _keep(folder / "skipped.csv")
        words = pd.DataFrame(
            [(a, b, b - a + 1, INTERRUPTED) for a, b in number_runs(silent)], columns=list(skipped.columns)
        )
        _replace(folder / "skipped.csv", pd.concat([skipped.astype(object), words.astype(object)]))
        done.append(f"{len(silent)} frames had neither a pose nor a skip record; skip records were added")
    return done


def _append(frames: pd.DataFrame, columns: Mapping[str, Iterable[int | None]], same: dict[str, str]) -> pd.DataFrame:
    rows = pd.DataFrame({name: pd.array(list(values), "Int64") for name, values in columns.items()}).assign(**same)
    return pd.concat([frames.astype(object), rows.reindex(columns=frames.columns).astype(object)], ignore_index=True)


def _next_seq(frames: pd.DataFrame) -> int:
    delivered = frames["seq"].dropna()
    return int(delivered.max()) + 1 if len(delivered) else 0


def _cut(table: Path) -> None:
    whole = whole_lines(table)
    _keep(table)
    with replacing(table) as temporary:
        temporary.write_bytes(whole)


def _originals(folder: Path) -> Path:
    (folder / ORIGINALS).mkdir(exist_ok=True)
    return folder / ORIGINALS


def _keep(path: Path) -> None:
    originals = _originals(path.parent)
    if not (originals / path.name).exists():
        shutil.copy2(path, originals / path.name)


def _replace(path: Path, table: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
