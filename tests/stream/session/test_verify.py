import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posestream.stream.session.check_frames import check_device_ids
from posestream.stream.session.closing import close_camera, read_camera
from posestream.stream.session.reader import NoSessionError, load_session
from posestream.stream.session.recover import recover_session
from posestream.stream.session.verify import verify_session
from posestream.stream.session.video_times import decode_video

from ..conftest import BODYPARTS, children_of, wait_for_processes

pytestmark = pytest.mark.timeout(180)
MODEL = {
    "scorer": "DLC_x",
    "bodyparts": list(BODYPARTS),
    "net_type": "resnet_50",
    "stride": 8,
    "locref_stdev": 7.2801,
    "location_refinement": True,
    "mean_pixel": [123.68, 116.779, 103.939],
}

STREAM: dict[str, Any] = {
    "camera": "top",
    "endpoint": "ipc:///tmp/x",
    "height": 48,
    "width": 64,
    "pixel_format": "gray8",
    "rate_hz": 100.0,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session as a run leaves it; even frames have live poses, odd ones below 80 backfilled ones."""
    from posestream.acquisition.camera import CameraFormat, Capture
    from posestream.acquisition.recorder import Recorder
    from posestream.acquisition.stamps import FrameStamper
    from posestream.stream.disk.tables import SKIPPED_COLUMNS, TableWriter, backfilled_columns, pose_columns
    from posestream.stream.wire.settings import RecordingSettings

    folder = tmp_path_factory.mktemp("session")
    (folder / "top").mkdir()
    camera = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=100.0)
    recorder, stamps = Recorder(folder / "top", RecordingSettings(queue_s=3600), camera), FrameStamper(camera)
    poses = TableWriter(folder / "top" / "poses.csv", pose_columns(BODYPARTS))
    skipped = TableWriter(folder / "top" / "skipped.csv", SKIPPED_COLUMNS)
    rng = np.random.default_rng(0)
    backfilled = TableWriter(folder / "top" / "backfilled.csv", backfilled_columns(BODYPARTS))
    for seq in range(120):
        device_id = seq + 3 * (seq >= 50)  # the device lost three
        time = 10_000_000 * device_id
        pixels = rng.integers(0, 256, camera.shape, np.uint8)
        recorder.put(stamps.stamp(Capture(captured_ns=time, device_id=device_id), 0), pixels)
        if seq % 2:
            skipped.append((seq, seq, 1, "fresher-frame"))
            if seq < 80:
                backfilled.append((seq, seq, *rng.uniform(0, 60, 12).round(3)))
        else:
            poses.append((seq, device_id, seq // 2, *[time] * 7, 1, *rng.uniform(0, 60, 12).round(3)))
    recorder.close()
    poses.close()
    skipped.close()
    backfilled.close()
    session = {
        "format": 1,
        "id": "5e55",
        "state": "complete",
        "rig": {"cameras": {"top": {"remote": False}}, "inference": {"batch_size": 8}},
        "cameras": {"top": {"stream": STREAM, "video": "video.mp4"}},
        "inference": {"model": MODEL},
    }
    (folder / "session.json").write_text(json.dumps(session))
    write_results(folder)
    (folder / "summary.json").write_text(json.dumps({"session": "5e55", "cameras": {"top": {}}}))
    told = {"lost-camera": {"count": 3}, "end": {"frames": 120}}
    events = [{"session": "5e55", "source": "top", "name": name, "data": data} for name, data in told.items()]
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return folder


def write_results(folder: Path) -> None:
    close_camera(folder / "top", read_camera(folder / "top", inferred=True), load_session(folder))


@pytest.fixture
def session(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "session"))


def edit(path: Path, change: Callable[[list[str]], object]) -> None:
    lines = path.read_text().splitlines(keepends=True)
    change(lines)
    path.write_text("".join(lines))


def swap(lines: list[str], row: int, old: str, new: str) -> None:
    assert old in lines[row]
    lines[row] = lines[row].replace(old, new)


def swap_frames(lines: list[str], one: int, other: int) -> None:
    first, second = lines[one].split(",", 1), lines[other].split(",", 1)
    lines[one], lines[other] = f"{first[0]},{second[1]}", f"{second[0]},{first[1]}"


def swap_checksums(lines: list[str], one: int, other: int) -> None:
    first, second = (lines[row].split(",")[8] for row in (one, other))
    assert first != second
    swap(lines, one, first, second)
    swap(lines, other, second, first)


def film_again(video: Path) -> None:
    """The same times, and nothing to be seen."""
    from posestream.acquisition.camera import CameraFormat
    from posestream.acquisition.encoder import VideoWriter
    from posestream.stream.wire.settings import RecordingSettings

    times_us = decode_video(video).times_us
    video.unlink()
    camera = CameraFormat(height=48, width=64, pixel_format="gray8", rate_hz=100.0)
    writer = VideoWriter(video, RecordingSettings(), camera)
    for time_us in times_us.tolist():
        writer.write(np.zeros(camera.shape, np.uint8), time_us)
    writer.close()


def zero(path: Path, number: int) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + number] = bytes(number)
    path.write_bytes(data)


def alter(path: Path) -> None:
    table = pd.DataFrame(pd.read_hdf(path))
    table.iloc[3, 0] = 0.0
    table.to_hdf(path, key="df_with_missing", format="table", mode="w")


def cut(path: Path, by: int) -> int:
    return path.write_bytes(path.read_bytes()[:-by])


def punch(path: Path, share: float, size: int = 700) -> int:
    """Make a hole of zeros in a file, or the whole file one."""
    data = bytearray(path.read_bytes())
    begin = int(len(data) * share)
    end = min(begin + size, len(data)) if share else len(data)
    data[begin:end] = bytes(end - begin)
    return path.write_bytes(data)


def test_a_sound_session_is_proved(session: Path) -> None:
    found = verify_session(session)
    assert found["problems"] == []
    assert found["cameras"]["top"] == {
        "recorded": 120,
        "lost-camera": 3,
        "decoded": 120,
        "poses": 60,
        "backfilled": 40,
        "lost": {"frames": 3, "seconds": 0.03, "longest_gap_s": 0.04},
    }


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a row is missing": (lambda top: edit(top / "frames.csv", lambda lines: lines.pop(20)), "are not 0, 1, 2"),
    "a lost frame has no row": (lambda top: edit(top / "frames.csv", lambda lines: lines.pop(52)), "device ids jump"),
    "a state is wrong": (
        lambda top: edit(top / "frames.csv", lambda lines: swap(lines, 30, "recorded", "lost-queue")),
        "video has 120 frames, frames.csv says 119",
    ),
    "a time is wrong": (
        lambda top: edit(top / "frames.csv", lambda lines: swap(lines, 11, ",100000,", ",100900,")),
        "times of 1 frames differ from frames.csv, first of frame 10",
    ),
    "a time after the arrival": (
        lambda top: edit(
            top / "frames.csv", lambda lines: swap(lines, 11, ",100000000,100000000,", ",100000001,100000000,")
        ),
        "1 frames were there before they were captured",
    ),
    "a frame of which nothing is known": (
        lambda top: edit(top / "frames.csv", lambda lines: swap(lines, 30, "recorded", "delivered")),
        "1 frames were delivered, and nothing says what became of them",
    ),
    "the table of packets was not merged": (
        lambda top: (top / "packets.csv").write_text("seq,video_frame,pts_us,crc32,state,note\n"),
        "packets.csv was never merged",
    ),
    "a checksum is another": (
        lambda top: edit(top / "frames.csv", lambda lines: swap_checksums(lines, 30, 31)),
        "2 frames of the video are not those that were recorded, first frame 29",
    ),
    "the video is another of the same times": (
        lambda top: film_again(top / "video.mp4"),
        "120 frames of the video are not those that were recorded, first frame 0",
    ),
    "the video is cut": (lambda top: cut(top / "video.mp4", 30_000), "video"),
    "a table is cut": (lambda top: cut(top / "poses.csv", 4), "poses.csv was cut short"),
    "a pose is missing": (
        lambda top: edit(top / "poses.csv", lambda lines: lines.pop(7)),
        "1 frames have neither a pose",
    ),
    "a pose is there twice": (
        lambda top: edit(top / "poses.csv", lambda lines: lines.insert(7, lines[7])),
        "not in order",
    ),
    "a pose belongs to nothing": (
        lambda top: edit(top / "skipped.csv", lambda lines: lines.append("999,999,1,fresher-frame\n")),
        "belong to no frame",
    ),
    "a pose and a word why not": (
        lambda top: edit(top / "skipped.csv", lambda lines: lines.append("10,10,1,fresher-frame\n")),
        "both a pose and a skip record",
    ),
    "a pose has moved to another frame": (
        lambda top: edit(top / "poses.csv", lambda lines: swap_frames(lines, 7, 9)),
        "poses have another device_id than their frame",
    ),
    "a pose has moved to a frame that was skipped": (
        lambda top: edit(top / "poses.csv", lambda lines: swap(lines, 8, "14,", "15,")),
        "rows say live, against the tables of poses",
    ),
    "a live pose is called none": (
        lambda top: edit(top / "frames.csv", lambda lines: swap(lines, 11, ",live", ",none")),
        "1 rows say none, against the tables of poses; first row 11",
    ),
    "a backfilled pose is called live": (
        lambda top: edit(top / "frames.csv", lambda lines: swap(lines, 10, ",backfilled", ",live")),
        "1 rows say live, against the tables of poses; first row 10",
    ),
    "a pose state is missing": (
        lambda top: edit(top / "frames.csv", lambda lines: swap(lines, 10, ",backfilled", ",")),
        "1 frames have no pose state",
    ),
    "a pose state is unknown": (
        lambda top: edit(top / "frames.csv", lambda lines: swap(lines, 10, ",backfilled", ",perhaps")),
        "unknown pose states ['perhaps']",
    ),
    "a backfilled pose is missing": (
        lambda top: edit(top / "backfilled.csv", lambda lines: lines.pop(7)),
        "1 rows say backfilled, against the tables of poses",
    ),
    "a backfilled pose is there twice": (
        lambda top: edit(top / "backfilled.csv", lambda lines: lines.insert(7, lines[7])),
        "backfilled.csv: frames have two poses",
    ),
    "a backfilled pose is of another frame of the video": (
        lambda top: edit(top / "backfilled.csv", lambda lines: swap(lines, 7, "13,13,", "13,14,")),
        "1 poses are not of the frame of the video that they name",
    ),
    "a backfilled pose is of a frame that has a live one": (
        lambda top: edit(top / "backfilled.csv", lambda lines: lines.append(lines[7].replace("13,13,", "14,14,"))),
        "1 rows say live, against the tables of poses",
    ),
    "a frame of the video is damaged": (lambda top: zero(top / "video.mp4", 3000), "video.mp4: frame"),
    "a number is missing where a frame was recorded": (
        lambda top: edit(top / "frames.csv", lambda lines: swap(lines, 11, "10,10,", ",10,")),
        "lack their number",
    ),
    "deeplabcut's table is altered": (lambda top: alter(top / "videoDLC_x.h5"), "videoDLC_x.h5 differs"),
    "deeplabcut's text is altered": (
        lambda top: edit(top / "videoDLC_x.csv", lambda lines: lines.pop()),
        "videoDLC_x.csv differs",
    ),
    "deeplabcut's metadata are gone": (
        lambda top: (top / "videoDLC_x_meta.pickle").unlink(),
        "videoDLC_x_meta.pickle is missing",
    ),
    "a table is gone": (lambda top: (top / "frames.csv").unlink(), "frames.csv"),
    "deeplabcut's table is gone": (lambda top: (top / "videoDLC_x.h5").unlink(), "videoDLC_x.h5 is missing"),
}


@settings(max_examples=40)
@given(
    st.one_of(st.none(), st.just((1, 12))),
    st.lists(st.one_of(st.none(), st.integers(0, 30), st.integers(0, 10**9)), max_size=40),
    st.integers(0, 40),
)
def test_whatever_a_device_numbers_the_rows_are_proved_and_a_missing_row_is_found(raw_range, raws, reopened) -> None:
    from posestream.acquisition.camera import CameraFormat, Capture
    from posestream.acquisition.stamps import FrameStamper

    camera = CameraFormat(height=48, width=64, pixel_format="gray8", device_ids=raw_range)
    stamps = FrameStamper(camera)
    rows: list[tuple[Any, ...]] = []
    for number, raw in enumerate(raws):
        if number == reopened:
            stamps.begin_anew(camera)
        frame = stamps.stamp(Capture(captured_ns=number, device_id=raw), 0)
        if len(frame.lost) > 1_000:
            return  # one row for each; no need to make so many here
        rows += [(device_id, "", "lost-camera") for device_id in frame.lost]
        if frame.late:  # as the tables are merged
            del rows[max(place for place, row in enumerate(rows) if row == (frame.device_id, "", "lost-camera"))]
        rows.append((frame.device_id, frame.note, "recorded"))
    lost = [place for place, row in enumerate(rows) if row[2] == "lost-camera"]
    types = {"device_id": "Int64", "note": "string", "state": "string"}
    frames = pd.DataFrame(rows, columns=list(types)).astype(types)
    assert list(check_device_ids(frames)) == []
    if lost:
        assert list(check_device_ids(frames.drop(index=lost[0]).reset_index(drop=True)))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_named(session: Path, damage: str) -> None:
    harm, text = DAMAGE[damage]
    harm(session / "top")
    problems = verify_session(session)["problems"]
    assert any(text in problem for problem in problems), problems


@pytest.mark.parametrize("table", ["poses.csv", "backfilled.csv"])
def test_a_coordinate_that_differs_from_deeplabcuts_tables_is_found(session: Path, table: str) -> None:
    poses = pd.read_csv(session / "top" / table)
    poses.loc[poses.index == 5, "snout_x"] += 1
    poses.to_csv(session / "top" / table, index=False)
    assert verify_session(session)["problems"] == [
        f"camera top: videoDLC_x.{ending} differs from the tables of poses" for ending in ("h5", "csv")
    ]


def test_numbers_that_only_the_camera_counted_are_missed(session: Path) -> None:
    said = {"cameras": {"top": {"frames": {}, "counters": {"captured": 125}}}}
    (session / "summary.json").write_text(json.dumps(said))
    missed = "camera top: frames.csv: 5 of the 125 frames that were delivered have no row"
    assert missed in verify_session(session)["problems"]
    open_again(session)
    recover_session(session)
    frames = pd.read_csv(session / "top" / "frames.csv")
    assert frames["seq"].dropna().tolist() == list(range(125))
    assert frames["state"].tolist()[-5:] == ["interrupted"] * 5
    found = verify_session(session)
    assert found["problems"] == []
    lost = found["cameras"]["top"]["lost"]
    assert isinstance(lost, dict)
    assert lost["frames"] == 8


UNPROVABLE = "camera top: it was recorded without checksums; nothing shows what the video showed"


def test_a_session_without_checksums_is_proved_but_for_its_contents(session: Path, posestream) -> None:
    path = session / "top" / "frames.csv"
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="crc32").to_csv(path, index=False)
    found = verify_session(session)
    assert found["problems"] == []
    assert not found["proved"]
    assert UNPROVABLE in found["not_provable"]
    film_again(session / "top" / "video.mp4")
    assert verify_session(session)["problems"] == []  # which is why it must be said
    _, out, _ = posestream("verify", session).end()
    assert f"not provable: {UNPROVABLE}" in out
    open_again(session)
    recover_session(session)
    assert "crc32" not in pd.read_csv(path)


def test_what_was_lost_is_said_in_frames_and_seconds(session: Path, posestream) -> None:
    _, out, _ = posestream("verify", session).end()
    assert "camera top: 3 frames are not in the video, 0.03 s in all; the longest gap has 0.04 s" in out
    _, out, _ = posestream("verify", session, "--json").end()
    assert json.loads(out)["cameras"]["top"]["lost"] == {"frames": 3, "seconds": 0.03, "longest_gap_s": 0.04}


def test_a_session_from_before_pose_states_is_proved_and_gets_them(session: Path) -> None:
    pd.read_csv(session / "top" / "frames.csv").drop(columns="pose").to_csv(session / "top" / "frames.csv", index=False)
    assert verify_session(session)["problems"] == []
    write_results(session)
    assert pd.read_csv(session / "top" / "frames.csv")["pose"].value_counts().to_dict() == {
        "live": 60,
        "backfilled": 40,
        "none": 23,
    }


def test_what_is_no_session_is_refused(tmp_path: Path, posestream) -> None:
    with pytest.raises(NoSessionError, match=r"session\.json"):
        verify_session(tmp_path)
    for command in ("verify", "recover"):
        status, _, err = posestream(command, tmp_path).end()
        assert status == 2
        assert "is no session folder" in err


def without_pose_states(table: bytes) -> list[bytes]:
    return [line.rpartition(b",")[0] for line in table.splitlines()]


def open_again(session: Path) -> None:
    """Make a session look as if all its processes had been killed."""
    record = json.loads((session / "session.json").read_text())
    (session / "session.json").write_text(json.dumps(record | {"state": "recording"}))
    (session / "events.jsonl").write_text("")


@pytest.mark.parametrize(
    "harm",
    [
        lambda top: top,
        lambda top: [cut(top / name, 3) for name in ("frames.csv", "poses.csv", "skipped.csv")],
        lambda top: edit(top / "frames.csv", lambda lines: lines.__delitem__(slice(-5, None))),
        lambda top: edit(top / "poses.csv", lambda lines: lines.__delitem__(slice(-5, None))),
        lambda top: [path.unlink() for path in top.glob("videoDLC*")],
        lambda top: [cut(top / "backfilled.csv", 3)],
        lambda top: [path.unlink() for path in (top / "poses.csv", top / "skipped.csv", top / "backfilled.csv")],
        lambda top: [(top / "poses.csv").write_text("frame_s"), (top / "skipped.csv").write_text("")],
        lambda top: (top / "frames.csv").unlink(),
        lambda top: [path.unlink() for path in top.glob("*")] and (top / "video.mp4").write_bytes(b""),
        lambda top: [punch(top / name, 2 / 3) for name in ("frames.csv", "poses.csv", "skipped.csv", "video.mp4")],
        lambda top: [punch(top / "frames.csv", 0), cut(top / "video.mp4", 40_000)],
        lambda top: [punch(top / "video.mp4", 0), (top / "backfilled.csv").unlink()],
        lambda top: [(top / name).unlink() for name in ("video.mp4", "backfilled.csv")],
    ],
    ids=[
        "nothing",
        "tables cut",
        "rows missing",
        "poses missing",
        "no DeepLabCut files",
        "backfilled cut",
        "no tables of poses",
        "tables of poses begun",
        "no frame table",
        "killed before anything was written",
        "holes after a power failure",
        "frame table never written, index of the video torn",
        "video never written",
        "video gone",
    ],
)
def test_recovering_makes_a_session_that_verifies(session: Path, harm) -> None:
    harm(session / "top")
    harmed = {path.name: path.read_bytes() for path in (session / "top").glob("*.csv")}
    open_again(session)
    assert any("posestream recover" in problem for problem in verify_session(session)["problems"])
    recover_session(session)
    assert verify_session(session)["problems"] == []
    assert json.loads((session / "session.json").read_text())["state"] == "recovered"
    originals = session / "top" / "before-recovery"
    for name, data in harmed.items():  # what was changed is kept as it was
        now = (session / "top" / name).read_bytes()
        if without_pose_states(now) != without_pose_states(data) and data and "DLC" not in name:
            assert (originals / name).read_bytes() == data
    assert recover_session(session) == []
    frames = pd.read_csv(session / "top" / "frames.csv")
    summary = json.loads((session / "summary.json").read_text())
    said = summary["cameras"]["top"]
    assert {k: n for k, n in said["frames"].items() if n and k != "captured"} == frames[
        "state"
    ].value_counts().to_dict()
    assert said["pose_states"] == {s: int((frames["pose"] == s).sum()) for s in ("live", "backfilled", "none")}
    said["frames"]["recorded"] += 1
    (session / "summary.json").write_text(json.dumps(summary))
    problems = verify_session(session)["problems"]
    assert [text for text in problems if text.startswith("camera top: summary.json says")]
    assert "summary.json differs from the manifest: it was changed" in problems


def test_frames_without_rows_are_numbered_by_the_poses_that_have_their_times(session: Path) -> None:
    """Frames 112 and 113 were lost to the video, and a power failure took the rows that said so."""
    top = session / "top"
    (top / "backfilled.csv").unlink()
    edit(top / "frames.csv", lambda lines: lines.__delitem__(slice(-14, None)))  # from frame 109 on
    for name, columns in {"poses.csv": ["frame_seq"], "skipped.csv": ["first_seq", "last_seq"]}.items():
        table = pd.read_csv(top / name)
        late = table[columns[0]] >= 112
        table.loc[late, columns] += 2
        if name == "poses.csv":
            lost = table[late].iloc[:1].assign(frame_seq=112, device_id=np.nan)
            lost[[column for column in map(str, table) if column.endswith("_ns")]] = 1_139_500_000
            table = pd.concat([table[~late], lost, table[late]]).astype({"device_id": "Int64"})
            table["pose_seq"] = range(len(table))
        table.to_csv(top / name, index=False)
    open_again(session)
    recover_session(session)
    frames, poses = pd.read_csv(top / "frames.csv"), pd.read_csv(top / "poses.csv")
    made = poses.merge(frames[frames["state"] == "recorded"], left_on="frame_seq", right_on="seq", suffixes=("", "_is"))
    assert len(made) == 60
    assert (made["pts_us"] * 1000 == made["captured_ns"]).all()
    assert frames.loc[frames["state"] == "interrupted", "seq"].tolist() == [112, 113]
    assert verify_session(session)["problems"] == []


def test_recovering_keeps_what_the_run_still_wrote_of_its_summary(session: Path) -> None:
    counters = {"unsent": 7, "disconnects": 2, "gap_ms": 40}
    written = {"ended": "seconds", "seconds": 1.2, "problems": [], "cameras": {"top": {"counters": counters}}}
    (session / "summary.json").write_text(json.dumps(written))
    open_again(session)
    recover_session(session)
    summary = json.loads((session / "summary.json").read_text())
    assert (summary["ended"], summary["seconds"]) == ("seconds", 1.2)
    assert summary["cameras"]["top"]["counters"] == counters
    assert summary["cameras"]["top"]["gaps"] == {"count": 2, "ms": 40}


def test_a_session_with_a_folder_that_was_left_open_is_not_taken_for_closed(session: Path) -> None:
    """As a disk leaves it that was full when the tables were to be merged."""
    top = session / "top"
    recover_session(session)
    rows = pd.read_csv(top / "frames.csv", dtype="string", keep_default_na=False)
    packets = rows.loc[rows["seq"] != "", ["seq", "video_frame", "pts_us", "crc32", "state", "note"]]
    delivered = rows["state"] == "recorded"
    rows.loc[delivered, ["video_frame", "pts_us", "crc32"]] = ""
    rows.loc[delivered, "state"] = "delivered"
    rows.to_csv(top / "frames.csv", index=False, lineterminator="\n")
    packets.to_csv(top / "packets.csv", index=False, lineterminator="\n")
    assert "packets.csv was never merged into frames.csv" in " ".join(verify_session(session)["problems"])
    assert recover_session(session)
    assert not (top / "packets.csv").exists()
    assert verify_session(session)["problems"] == []
    assert json.loads((session / "session.json").read_text())["state"] == "complete"
    (top / "own.csv").write_text("a table of somebody's own, whose last line has no end")
    assert recover_session(session) == []


def test_space_that_a_killed_process_held_is_given_back_to_a_closed_session(session: Path) -> None:
    (session / "top" / "reserve").write_bytes(b"x")
    assert recover_session(session) == ["top/reserve, a leftover, was removed"]
    assert recover_session(session) == []
    assert not (session / "top" / "reserve").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_when_everything_is_killed_at_once_the_session_can_be_recovered(
    posestream, rig, random_model, tmp_path
) -> None:
    import os
    import signal

    arena = '[cameras.top]\nbackend = "synthetic"\nwidth = 96\nheight = 64\nrate_hz = 100.0\nbuffers = 1000\n'
    run = posestream("run", rig(f'{arena}[inference]\nmodel = "{random_model}"\n'))
    run.until_rows(100, "top/frames.csv")
    run.until_rows(5, "top/poses.csv")
    processes = children_of(run.process.pid)
    for pid in (run.process.pid, *processes.values()):
        os.kill(pid, signal.SIGKILL)
    assert wait_for_processes(list(processes.values())) == []
    [folder] = (tmp_path / "out").iterdir()
    rows = (folder / "top" / "frames.csv").read_bytes().count(b"\n") - 1
    status, out, err = posestream("recover", folder).end()
    assert status == 0, err
    status, out, err = posestream("verify", folder, "--json").end()
    found = json.loads(out)
    assert found["problems"] == []
    assert (status, found["proved"]) == (1, False)  # nothing shows what the tables were before recover closed them
    assert "the run was cut off" in found["not_provable"][0]
    counts = found["cameras"]["top"]
    assert counts["recorded"] == counts["decoded"] > 0
    # What the encoder still had died with it and is named; a frame may be in the video a moment before its row.
    assert rows <= counts["recorded"] + counts["lost"]["frames"] <= rows + 1
    summary = json.loads((folder / "summary.json").read_text())
    top = summary["cameras"]["top"]
    assert top["frames"]["recorded"] == counts["recorded"]
    assert top["poses"]["recorded"] == counts["poses"] == top["pose_states"]["live"]
    assert top["poses"]["unexplained"] == 0
    assert top["latency_ms"]["exposure_to_subscriber"]["p50"] > 0
    assert summary["ended"] == "cut off"
    assert summary["exit_status"] == 1
    assert summary["seconds"] is top["counters"] is summary["inference"] is None  # they died with the processes
    assert list(folder.rglob("reserve")) == list(folder.glob("*.lock")) == []
