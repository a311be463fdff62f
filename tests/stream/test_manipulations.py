"""A closed session is changed in many ways; each is noticed, most even if somebody renewed the manifest as well."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from posestream.inference.windows.framing import Framing
from posestream.stream.offline.analyze import Analyses, AnalyzeSettings
from posestream.stream.offline.backfill import Backfill
from posestream.stream.session.manifest import Renewal, write_manifest
from posestream.stream.session.recover import recover_session
from posestream.stream.session.verify import verify_session
from posestream.stream.session.video_times import decode_video

from ..support.runs import POSESTREAM, free_endpoint
from ..support.videos import write_video

pytestmark = pytest.mark.timeout(300)
RIG = """
[session]
name = "sound"
output = "out"
min_free_gib = 0.01
[network]
poses = "{poses}"
[cameras.top]
backend = "synthetic"
width = 320
height = 240
rate_hz = 100.0
frames = 300
buffers = 1000
[cameras.side]
backend = "synthetic"
width = 320
height = 240
rate_hz = 25.0
frames = 75
seed = 1
buffers = 1000
[inference]
model = "openfield-mouse"
engine = "openvino"
precision = "float32"  # with which no processor keeps up with these cameras: frames are skipped
batch_size = 2
"""
HOUR_NS = 3_600_000_000_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of two cameras, as a run leaves it."""
    work = tmp_path_factory.mktemp("recorded")
    (work / "rig.toml").write_text(RIG.format(poses=free_endpoint()))
    command = [POSESTREAM, "run", "rig.toml", "--json"]
    run = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    folder = Path(json.loads(run.stdout)["folder"])
    assert len(pd.read_csv(folder / "top" / "poses.csv")) >= 4
    assert len(pd.read_csv(folder / "top" / "skipped.csv")) > 0
    return folder


@pytest.fixture
def session(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "session"))


def table(path: Path, change: Callable[[pd.DataFrame], object]) -> None:
    """Change a table; every cell is text."""
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    changed = change(cells)
    (changed if isinstance(changed, pd.DataFrame) else cells).to_csv(path, index=False, lineterminator="\n")


def add(path: Path, columns: list[str], by: int, rows: Any = slice(None)) -> None:
    def change(cells: pd.DataFrame) -> None:
        for column in columns:
            cells.loc[rows, column] = [str(int(cell) + by) if cell else cell for cell in cells.loc[rows, column]]

    table(path, change)


def put(path: Path, column: str, row: int, value: object) -> None:
    table(path, lambda cells: cells.__setitem__(column, [*cells[column][:row], str(value), *cells[column][row + 1 :]]))


def record(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=2) + "\n")


def lines(path: Path, change: Callable[[list[str]], object]) -> None:
    text = path.read_text().splitlines(keepends=True)
    change(text)
    path.write_text("".join(text))


def film(session: Path, order: Callable[[list[Any]], list[Any]]) -> None:
    """Encode the video anew from other pictures, at the times that it had."""
    from fractions import Fraction

    import av

    path = session / "top" / "video.mp4"
    times = decode_video(path).times_us
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="gray8") for frame in container.decode(video=0)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"preset": "ultrafast", "crf": "20", "bf": "0"})
        stream.height, stream.width = pictures[0].shape[0], pictures[0].shape[1]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1_000_000)
        for pts, picture in zip(times.tolist(), order(pictures), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="gray8").reformat(format="yuv420p")
            frame.pts, frame.time_base = pts, Fraction(1, 1_000_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def swap_poses(session: Path, camera: str = "top") -> None:
    """Swap what was found in two frames, in all tables."""
    top = session / camera
    [h5] = top.glob("video*.h5")

    def swap(cells: pd.DataFrame) -> None:
        keypoints = [name for name in map(str, cells) if name.endswith(("_x", "_y", "_likelihood"))]
        cells.loc[[1, 3], keypoints] = cells.loc[[3, 1], keypoints].to_numpy()

    seq = pd.read_csv(top / "poses.csv")["frame_seq"].astype(int)
    places = [seq[1], seq[3]]
    table(top / "poses.csv", swap)
    found = pd.read_hdf(h5)
    found.loc[places] = found.loc[places[::-1]].to_numpy()
    found.to_hdf(h5, key="df_with_missing", format="table", mode="w")
    found.to_csv(h5.with_suffix(".csv"))


TIMES = ["captured_ns", "arrived_ns", "wall_ns"]
STAGES = [f"{name}_ns" for name in ("captured", "sent", "received", "batched", "inferred", "published", "subscribed")]


def nudge(text: list[str]) -> None:
    """Change the first number of DeepLabCut's table."""
    place = next(number for number, line in enumerate(text) if number > 2 and not line.endswith(",,\n"))
    index, first, rest = text[place].split(",", 2)
    text[place] = f"{index},{float(first) + 1},{rest}"


def hour(session: Path, camera: str, hours: int = 1) -> None:
    add(session / camera / "frames.csv", TIMES, hours * HOUR_NS)
    add(session / camera / "poses.csv", STAGES, hours * HOUR_NS)


def swap_exposures(session: Path) -> None:
    add(session / "top" / "frames.csv", TIMES, 10**8, [9])
    add(session / "top" / "frames.csv", TIMES, -(10**8), [10])


def without_camera(session: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        del value["cameras"]["side"], value["rig"]["cameras"]["side"]

    record(session / "session.json", change)


def remote(session: Path) -> None:
    def change(value: dict[str, Any]) -> None:
        value["rig"]["cameras"]["side"]["remote"] = True

    record(session / "session.json", change)


def event_of(session: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    def each(text: list[str]) -> None:
        for place, line in enumerate(text):
            event = json.loads(line)
            if event["name"] == name:
                change(event)
                text[place] = json.dumps(event) + "\n"

    lines(session / "events.jsonl", each)


def camera_summary(session: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record(session / "summary.json", lambda value: change(value["cameras"]["top"]))


Change = Callable[[Path], object]
MANIPULATIONS: dict[str, tuple[Change, str | None]] = {
    # What only digests, or checksums of packets, can show
    "two poses swapped in all tables": (swap_poses, None),
    "a version edited": (lambda s: record(s / "session.json", lambda v: v["versions"].update(numpy="1.0")), None),
    "crf edited": (lambda s: record(s / "session.json", lambda v: v["rig"]["recording"].update(crf=1.0)), None),
    "an event's text edited": (lambda s: event_of(s, "end", lambda e: e.update(text="nothing happened")), None),
    "a log edited": (lambda s: (s / "notes.txt").write_text("x"), None),
    "metadata edited": (lambda s: next((s / "top").glob("*.pickle")).write_bytes(b""), None),
    # Pictures
    "all frames black": (lambda s: film(s, lambda pictures: [picture * 0 for picture in pictures]), "bytes"),
    "frames in reverse": (lambda s: film(s, lambda pictures: pictures[::-1]), "bytes"),
    "two frames swapped": (lambda s: film(s, lambda p: [*p[:8], p[9], p[8], *p[10:]]), "bytes"),
    "the other camera's video": (lambda s: shutil.copy(s / "side/video.mp4", s / "top/video.mp4"), "the video has"),
    "another video": (lambda s: write_video(s / "top/video.mp4", 5, 480, 640), "the video has 5 frames"),
    "the video deleted": (lambda s: (s / "top/video.mp4").unlink(), "video.mp4"),
    # Files
    "summary.json deleted": (lambda s: (s / "summary.json").unlink(), "summary.json is missing"),
    "events.jsonl deleted": (lambda s: (s / "events.jsonl").unlink(), "events.jsonl is missing"),
    "events.jsonl emptied": (lambda s: (s / "events.jsonl").write_text(""), "says 0 times that it ended"),
    "truth.csv of other frames": (lambda s: add(s / "top/truth.csv", ["seq"], 100), "truth.csv"),
    "frames.csv deleted": (lambda s: (s / "top/frames.csv").unlink(), "frames.csv"),
    "poses.csv deleted": (lambda s: (s / "top/poses.csv").unlink(), "poses.csv"),
    "skipped.csv deleted": (lambda s: (s / "top/skipped.csv").unlink(), "skipped.csv"),
    "a camera's folder deleted": (lambda s: shutil.rmtree(s / "side"), "camera side"),
    "a camera's folder added": (lambda s: shutil.copytree(s / "side", s / "third"), "has no such camera"),
    "deeplabcut's table deleted": (lambda s: next((s / "top").glob("*.h5")).unlink(), "h5 is missing"),
    # session.json
    "a camera removed": (without_camera, "session.json has no such camera"),
    "a camera removed from one list": (
        lambda s: record(s / "session.json", lambda v: v["cameras"].pop("side")),
        "its cameras and those of its rig differ",
    ),
    "a camera called remote": (remote, "says that it is on another machine, and frames.csv is here"),
    "a video not named": (
        lambda s: record(s / "session.json", lambda v: v["cameras"]["top"].pop("video")),
        "session.json does not name it",
    ),
    "inference denied": (
        lambda s: record(s / "session.json", lambda v: v.update(inference=None)),
        "says that no network ran",
    ),
    "another session's id": (
        lambda s: record(s / "session.json", lambda v: v.update(id="0" * 32)),
        "summary.json is of another session",
    ),
    "another end": (
        lambda s: record(s / "session.json", lambda v: v.update(ended="interrupted")),
        "disagree about how the run ended",
    ),
    "clocks deleted": (
        lambda s: record(s / "session.json", lambda v: v.update(clock_anchors=[])),
        "it has no clock anchors",
    ),
    "clocks moved": (
        lambda s: record(
            s / "session.json", lambda v: [a.update(wall_ns=a["wall_ns"] - HOUR_NS) for a in v["clock_anchors"]]
        ),
        "is not that of the clocks in session.json",
    ),
    "a rate edited": (
        lambda s: record(s / "session.json", lambda v: v["cameras"]["top"]["stream"].update(rate_hz=500.0)),
        "summary.json says rate_hz",
    ),
    "a size edited": (
        lambda s: record(s / "session.json", lambda v: v["cameras"]["top"]["stream"].update(width=640)),
        "summary.json says size",
    ),
    # Times
    "times moved by an hour": (lambda s: hour(s, "top"), "are not within the session's"),
    "times moved back by an hour": (lambda s: hour(s, "top", -1), "are not within the session's"),
    "wall clock moved by an hour": (
        lambda s: add(s / "top/frames.csv", ["wall_ns"], HOUR_NS),
        "is not that of the clocks in session.json",
    ),
    "one wall clock edited": (
        lambda s: add(s / "top/frames.csv", ["wall_ns"], 10**9, [7]),
        "differs from that of the frames around them",
    ),
    "one exposure edited": (
        lambda s: add(s / "top/frames.csv", ["captured_ns", "wall_ns"], -(10**7), [9]),
        "captured_ns and pts_us of 1 frames disagree",
    ),
    "two exposures swapped": (swap_exposures, "captured_ns goes back"),
    "one arrival edited": (
        lambda s: add(s / "top/frames.csv", ["arrived_ns"], -(10**9), [9]),
        "before they were captured",
    ),
    "one place in the video edited": (
        lambda s: add(s / "top/frames.csv", ["pts_us"], 100, [9]),
        "differ from frames.csv",
    ),
    "a row's device number edited": (lambda s: add(s / "top/frames.csv", ["device_id"], 1, [9]), "device ids jump"),
    # Poses
    "inferred_ns of 5": (lambda s: put(s / "top/poses.csv", "inferred_ns", 3, 5), "inferred_ns of 1 poses lies before"),
    # A batch of one has no other pose to hold it against, and batches are as large as the machine is slow.
    "one inferred_ns edited by little": (lambda s: add(s / "top/poses.csv", ["inferred_ns"], 1, [2]), None),
    "one sent_ns before the exposure": (
        lambda s: add(s / "top/poses.csv", ["sent_ns"], -(10**9), [2]),
        "sent_ns of 1 poses lies before their captured_ns",
    ),
    "one published_ns edited": (
        lambda s: add(s / "top/poses.csv", ["published_ns"], 10**9, [2]),
        "subscribed_ns of 1 poses",
    ),
    "all subscribed_ns edited": (
        lambda s: add(s / "top/poses.csv", ["subscribed_ns"], 10**7),
        "summary.json says latency_ms",
    ),
    "one captured_ns of a pose edited": (
        lambda s: add(s / "top/poses.csv", ["captured_ns"], -1, [2]),
        "have another captured_ns than their frame",
    ),
    "a batch size edited": (lambda s: put(s / "top/poses.csv", "batch_size", 2, 7), "summary.json says batch_size"),
    "pose numbers edited": (lambda s: put(s / "top/poses.csv", "pose_seq", 3, 0), "pose_seq does not rise"),
    "a pose deleted": (lambda s: table(s / "top/poses.csv", lambda c: c.drop(index=3)), "neither a pose"),
    "a pose moved": (
        lambda s: put(s / "top/poses.csv", "snout_x", 2, 1.5),
        "differs from the tables of poses",
    ),
    "a pose moved in deeplabcut's text": (
        lambda s: lines(next((s / "top").glob("video*.csv")), nudge),
        "differs from the tables of poses",
    ),
    "poses of one camera moved to the other": (
        lambda s: shutil.copy(s / "side/poses.csv", s / "top/poses.csv"),
        "camera top",
    ),
    # Skipped frames and counts
    "counts of skipped.csv": (
        lambda s: table(s / "top/skipped.csv", lambda c: c.__setitem__("count", "7777")),
        "is not that of the frames from first_seq to last_seq",
    ),
    "causes of skipped.csv": (
        lambda s: table(s / "top/skipped.csv", lambda c: c.__setitem__("cause", "interrupted")),
        "summary.json says poses",
    ),
    "a cause deleted": (
        lambda s: table(s / "top/skipped.csv", lambda c: c.__setitem__("cause", "")),
        "has empty cells",
    ),
    "a state edited": (lambda s: put(s / "top/frames.csv", "state", 9, "lost-queue"), "frames.csv says"),
    "a pose state edited": (lambda s: put(s / "top/frames.csv", "pose", 0, "backfilled"), "rows say backfilled"),
    "the last frame deleted": (lambda s: table(s / "top/frames.csv", lambda c: c.iloc[:-1]), "the video has"),
    "a count of the summary edited": (
        lambda s: camera_summary(s, lambda c: c["poses"].update(recorded=10_000)),
        "summary.json says poses",
    ),
    "a latency of the summary edited": (
        lambda s: camera_summary(s, lambda c: c["latency_ms"]["inference"].update(p50=0.1)),
        "summary.json says latency_ms",
    ),
    "a counter of the summary edited": (
        lambda s: camera_summary(s, lambda c: c["counters"].update(captured=10_000)),
        "its process counted 10000 captured",
    ),
    "an error of the summary edited": (
        lambda s: camera_summary(s, lambda c: c["pose_error"].update(rmse_px=0.01)),
        "summary.json says pose_error",
    ),
    "a problem of the summary deleted": (
        lambda s: record(s / "session.json", lambda v: v.update(problems=["camera top: the disk was full"])),
        "summary.json lacks a problem",
    ),
    # Events
    "an event deleted": (lambda s: lines(s / "events.jsonl", lambda text: text.pop()), "summary.json says"),
    "an event twice": (lambda s: lines(s / "events.jsonl", lambda text: text.append(text[-1])), "summary.json says"),
    "an event's count edited": (
        lambda s: event_of(s, "end", lambda e: e["data"].update(frames=3)),
        "says that it gave 3 frames",
    ),
    "an event renamed": (lambda s: event_of(s, "end", lambda e: e.update(name="silent")), "says 0 times that it ended"),
    "an event of another session": (
        lambda s: event_of(s, "end", lambda e: e.update(session="0" * 32)),
        "events are of another session",
    ),
}


def test_the_session_is_proved_before_anything_is_changed(session: Path) -> None:
    found = verify_session(session)
    assert (found["problems"], found["not_provable"], found["proved"]) == ([], [], True)


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_every_manipulation_is_noticed_by_its_digest(session: Path, name: str) -> None:
    MANIPULATIONS[name][0](session)
    found = verify_session(session)
    assert not found["proved"]
    kinds = ("differs from the manifest", "is in the manifest and is gone", "is not in the manifest")
    assert any(kind in problem for problem in found["problems"] for kind in kinds), found["problems"]


@pytest.mark.parametrize("name", [name for name, (_, text) in MANIPULATIONS.items() if text is not None])
def test_a_manipulation_is_noticed_though_the_manifest_was_renewed(session: Path, name: str) -> None:
    change, text = MANIPULATIONS[name]
    change(session)
    write_manifest(session, json.loads((session / "session.json").read_text())["id"], "run")
    found = verify_session(session)
    assert not found["proved"]
    assert any(str(text) in problem for problem in found["problems"]), found["problems"]


def test_without_a_manifest_nothing_is_called_proved(session: Path) -> None:
    swap_poses(session)
    (session / "manifest.json").unlink()
    found = verify_session(session)
    assert not found["proved"]
    assert [text for text in found["problems"] if "manifest.json is missing" in text]
    assert [text for text in found["not_provable"] if "no manifest" in text]
    status = subprocess.run([POSESTREAM, "verify", session], capture_output=True, text=True, timeout=60, check=False)
    assert status.returncode == 1
    assert status.stdout.splitlines()[-1] == "refuted"


def test_a_session_of_an_older_posestream_is_verified_as_far_as_it_goes(session: Path) -> None:
    (session / "manifest.json").unlink()
    record(session / "session.json", lambda value: value.pop("manifest"))
    found = verify_session(session)
    assert found["problems"] == []
    assert not found["proved"]
    shown = subprocess.run([POSESTREAM, "verify", session], capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 1
    assert "not provable: there is no manifest" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("not proved")


def test_a_manifest_of_another_session_or_none_at_all_is_named(session: Path) -> None:
    record(session / "manifest.json", lambda value: value.update(session="0" * 32))
    assert "manifest.json is of another session" in verify_session(session)["problems"]
    (session / "manifest.json").write_text("{")
    found = verify_session(session)
    assert any("manifest.json can't be read" in problem for problem in found["problems"])


def test_recover_writes_the_manifest_that_is_missing_and_says_what_it_can_not_prove(session: Path) -> None:
    (session / "manifest.json").unlink()
    assert recover_session(session) == ["manifest.json was written"]
    found = verify_session(session)
    assert found["problems"] == []
    assert not found["proved"]
    assert [text for text in found["not_provable"] if "the run was cut off" in text]
    assert recover_session(session) == []


def stopping_backfill(session: Path, camera: str | None = None) -> Backfill:
    """A backfill that ends after its first batch."""
    work = Backfill(session, camera=camera, batch_size=1, show=lambda _: stop())
    stop = work.stop
    return work


def test_a_backfill_renews_what_it_wrote_and_launders_nothing(session: Path) -> None:
    wanted = int((pd.read_csv(session / "side" / "frames.csv")["pose"] == "none").sum())
    lines(session / "events.jsonl", lambda text: text.pop())  # not written by a backfill
    add(session / "side" / "frames.csv", ["wall_ns"], 1)  # written by it
    work = stopping_backfill(session, "side")
    problems = work.run()["problems"]
    assert any("events.jsonl differs from the manifest" in problem for problem in problems)
    assert any("side/frames.csv differs from the manifest" in problem for problem in problems)
    found = verify_session(session)
    assert wanted == 0 or any("events.jsonl differs from the manifest" in text for text in found["problems"])
    assert any(text.startswith("side/frames.csv: changed by others") for text in found["problems"])
    assert not any("backfilled.csv" in text for text in found["problems"])


def test_after_a_backfill_a_sound_session_is_proved(session: Path) -> None:
    work = stopping_backfill(session)
    assert work.run()["backfilled"] > 0
    found = verify_session(session)
    assert (found["problems"], found["not_provable"], found["proved"]) == ([], [], True)


def test_what_a_backfill_that_was_killed_wrote_is_not_called_proved(session: Path) -> None:
    Renewal(session, "backfill").begin()
    record(session / "session.json", lambda value: value.update(backfill={"state": "running"}))
    swap_poses(session)  # which no backfill does
    recover_session(session)
    found = verify_session(session)
    assert any("top/poses.csv differs from the manifest" in text for text in found["problems"])
    assert any("session.json" in text and "a backfill was cut off" in text for text in found["not_provable"])


def test_analyze_adds_what_it_wrote_to_the_manifest_and_launders_nothing(session: Path, random_model: Path) -> None:
    video = session / "side" / "video.mp4"
    with (session / "events.jsonl").open("a") as events:
        events.write("{}\n")
    settings = AnalyzeSettings(model=random_model, framing=Framing(scale=0.125))
    [done] = Analyses([video], settings).run()["videos"]
    assert done["state"] == "done", done
    names = [Path(file).relative_to(session).as_posix() for file in done["files"]]
    assert len(names) >= 3
    files = json.loads((session / "manifest.json").read_text())["files"]
    assert set(names) <= set(files)
    problems = verify_session(session)["problems"]
    assert problems
    assert all("events.jsonl" in text for text in problems)
    with (session / names[0]).open("ab") as file:
        file.write(b" ")
    assert any(f"{names[0]} differs from the manifest" in text for text in verify_session(session)["problems"])


def test_the_progress_of_a_manifest_ends_with_all_bytes_and_what_stops_it_leaves_the_old_one(session: Path) -> None:
    before = (session / "manifest.json").read_bytes()
    seen: list[tuple[int, int]] = []
    write_manifest(session, "x", "run", lambda done, total: seen.append((done, total)))
    files = json.loads((session / "manifest.json").read_text())["files"]
    assert seen[-1] == (sum(entry["bytes"] for entry in files.values()),) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    (session / "manifest.json").write_bytes(before)

    def stop(_done: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write_manifest(session, "x", "run", stop)
    assert (session / "manifest.json").read_bytes() == before
