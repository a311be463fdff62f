"""Sessions from strangers: nothing in them is executed, and nothing outside of them is read or written."""

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posestream.stream.disk.lock import InUseError
from posestream.stream.session.inside import OutsideError, check_inside
from posestream.stream.session.reader import NoSessionError, load_session
from posestream.stream.session.recover import recover_session
from posestream.stream.session.table_reader import TableError
from posestream.stream.session.verify import verify_session

from ..support.hostile_hdf import PLACES, Command, plant
from .session.test_verify import open_again, session, sound  # noqa: F401 - fixtures

pytestmark = pytest.mark.timeout(180)
OVERLAY = Path(__file__).parents[2] / "examples" / "overlay.py"
links = pytest.mark.skipif(sys.platform == "win32", reason="making a link needs a right of its own")

Json = dict[str, Any]


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, without following links."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def changed(session: Path, change: Callable[[Json], object]) -> None:
    record = json.loads((session / "session.json").read_text())
    change(record)
    (session / "session.json").write_text(json.dumps(record))


def rename(record: Json, name: str) -> None:
    for cameras in (record["cameras"], record["rig"]["cameras"]):
        cameras[name] = cameras.pop("top")


def refused(session: Path, expected: str) -> None:
    """See that verify and recover refuse a session in one sentence and leave everything as it was."""
    before = contents(session.parent)
    for command in (verify_session, recover_session):
        with pytest.raises(NoSessionError, match=expected) as caught:
            command(session)
        assert "\n" not in str(caught.value)
    assert contents(session.parent) == before


NAMES = (
    "../../x",
    "/etc",
    "..",
    "",
    "a/b",
    "a\\b",
    "C:x",
    "top\n",
    "top\0",
    "ü",
    "x" * 49,
    "\x1b[2J",
    "Session",
    "con",
)
VIDEOS = ("../../../victim.mp4", "/etc/passwd", "frames.csv", "video.MP4", "video.avi", "", 5, ["video.mp4"])
SCORERS = ("/../../../victim", "..\\x", "a:b", "\n", "", None, 5)


def renamed(name: str) -> Callable[[Json], object]:
    return lambda record: rename(record, name)


def with_video(video: object) -> Callable[[Json], object]:
    return lambda record: record["cameras"]["top"].update(video=video)


def with_scorer(scorer: object) -> Callable[[Json], object]:
    return lambda record: record["inference"]["model"].update(scorer=scorer)


PATHS: dict[str, tuple[Callable[[Json], object], str]] = {
    **{f"camera {name}": (renamed(name), "name of a camera") for name in NAMES},
    **{f"video {video}": (with_video(video), r"video|cameras") for video in VIDEOS},
    **{f"scorer {scorer}": (with_scorer(scorer), r"inference\.model\.scorer") for scorer in SCORERS},
    "no camera": (lambda record: record.update(cameras={}), "cameras"),
    "a camera that the rig lacks": (lambda record: record["rig"].update(cameras={}), "not in its rig"),
    "a network that the rig lacks": (lambda record: record["rig"].update(inference=None), "its rig has none"),
    "body parts twice": (lambda record: record["inference"]["model"].update(bodyparts=["a", "a"]), "twice"),
    "a text that moves the cursor": (
        lambda record: record["inference"]["model"].update(bodyparts=["\x1b[2J"]),
        "bodyparts",
    ),
    "a batch of -1": (lambda record: record["rig"]["inference"].update(batch_size=-1), "batch_size"),
    "a frame of no size": (lambda record: record["cameras"]["top"]["stream"].update(width=0), "width"),
    "a format that is true": (lambda record: record.update(format=True), "format"),
    "a state of its own": (lambda record: record.update(state="preparing"), "state"),
}


@pytest.mark.parametrize("change", PATHS)
def test_what_becomes_a_path_is_checked_like_a_rig(session: Path, change: str) -> None:
    victim = session.parent / "victim.mp4"
    victim.write_text("mine")
    alter, expected = PATHS[change]
    open_again(session)
    changed(session, alter)
    refused(session, expected)
    assert victim.read_text() == "mine"


TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "a list": "[]",
    "no number": '{"format": NaN}',
    "infinite": '{"format": 1, "more": 1e999}',
    "deep": "[" * 100_000,
    "deep, and closed": '{"more":' + "[" * 300 + "]" * 300 + "}",
    "a long number": '{"format": ' + "9" * 10_000 + "}",
    "half a character": '"\\ud800',
    "not UTF-8": b"\xff\xfe",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_no_json_of_ours_is_refused(session: Path, text: str) -> None:
    content = TEXTS[text]
    open_again(session)
    (session / "session.json").write_bytes(content.encode() if isinstance(content, str) else content)
    before = contents(session)
    for command in (verify_session, recover_session):
        with pytest.raises(NoSessionError, match=r"session\.json: ."):
            command(session)
    assert contents(session) == before


def test_an_immense_record_is_not_read(session: Path) -> None:
    with (session / "session.json").open("r+b") as file:
        file.truncate(2**40)  # a hole takes no room
    with pytest.raises(NoSessionError, match="bytes"):
        load_session(session)


def link(place: Path, target: Path) -> None:
    """Put a link where something was, which moves to the link's target."""
    if place.is_dir():
        shutil.copytree(place, target)
        shutil.rmtree(place)
    else:
        if place.exists():
            shutil.move(place, target)
        target.touch()
    place.symlink_to(target)


@links
@pytest.mark.parametrize(
    "name",
    [
        *("top", "top/video.mp4", "top/frames.csv", "top/before-recovery", "top/poses.csv.tmp", "session.lock"),
        *("summary.json", "summary.json.tmp", "events.jsonl", "reserve", "more", "top/videoDLC_x.h5"),
    ],
)
def test_a_link_that_leads_out_is_refused(session: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (session / "events.jsonl").touch()
    if name == "top/before-recovery":
        (session / name).mkdir()
    open_again(session)
    link(session / name, outside / "victim")
    refused(session, f"not opened: '{name}.* is a link to")


@links
def test_a_link_to_nothing_in_circles_and_a_pipe_are_refused(session: Path, tmp_path: Path) -> None:
    for make in (
        lambda path: path.symlink_to(tmp_path / "nothing"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("nothing-here"),
        os.mkfifo,
    ):
        make(session / "top" / "odd")
        with pytest.raises(NoSessionError, match="not opened"):
            verify_session(session)
        (session / "top" / "odd").unlink()
    assert not (tmp_path / "nothing").exists()


@links
def test_links_within_are_followed(session: Path, tmp_path: Path) -> None:
    (session / "top" / "again").symlink_to(session / "top")
    (tmp_path / "elsewhere").symlink_to(session)
    check_inside(session)
    assert verify_session(tmp_path / "elsewhere")["problems"] == []
    with pytest.raises(OutsideError):
        check_inside(tmp_path / "absent")


@links
def test_a_folder_that_is_changed_for_a_link_after_it_was_recorded(session: Path, tmp_path: Path) -> None:
    """The camera's folder is another session's, whose files are sound: nothing of it is touched."""
    other = Path(shutil.copytree(session, tmp_path / "other"))
    open_again(other)
    shutil.rmtree(session / "top")
    (session / "top").symlink_to(other / "top")
    before = contents(other)
    refused(session, "'top' is a link to")
    assert contents(other) == before


def test_a_file_with_another_name_is_not_changed_in_its_place(session: Path, tmp_path: Path) -> None:
    """As a backup may hold it, or a stranger's archive unpacked beside one's own files."""
    video, other = session / "top" / "video.mp4", tmp_path / "other.mp4"
    with video.open("r+b") as file:
        file.truncate(video.stat().st_size - 5_000)
    os.link(video, other)
    before = other.read_bytes()
    open_again(session)
    with pytest.raises(OSError, match=r"video\.mp4 has another name"):
        recover_session(session)
    assert other.read_bytes() == before


# Tables and the summary.

TABLES = {
    "a word for a number": ("poses.csv", lambda text: text.replace("\n0,", "\nzero,", 1), "poses.csv"),
    "a word for a place": ("poses.csv", lambda text: text[:-2] + "x\n", "poses.csv"),
    "columns of others": ("poses.csv", lambda text: text.replace("snout_x", "nose_x"), "network"),
    "a column twice": ("frames.csv", lambda text: text.replace("arrived_ns", "captured_ns"), "frames.csv"),
    "no column": ("frames.csv", lambda text: text.replace("pts_us", "pts"), "pts_us"),
    "more cells than columns": ("frames.csv", lambda text: text.replace("\n0,", "\n0,0,", 1), "frames.csv"),
    "a frame of -1": ("frames.csv", lambda text: text.replace("\n0,", "\n-1,", 1), "-1"),
    "a frame beyond all": ("poses.csv", lambda text: text.replace("\n118,", f"\n{10**18},", 1), str(10**18)),
    "a frame of 40 digits": ("poses.csv", lambda text: text.replace("\n118,", f"\n{10**40},", 1), "poses.csv"),
    "a run without end": ("skipped.csv", lambda text: text + f"0,{2**31 - 1},1,x\n", "skipped.csv"),
    "a run that goes back": ("skipped.csv", lambda text: text + "9,3,1,x\n", "skipped.csv"),
    "a frame far behind": ("skipped.csv", lambda text: text + f"{2**30},{2**30},1,x\n", "skipped.csv"),
    "a quote without end": ("frames.csv", lambda text: text.replace("\n5,", '\n"5,', 1), "frames.csv"),
    "not UTF-8": ("skipped.csv", lambda text: text + "1,1,1,\udcff\n", "skipped.csv"),
}


@pytest.mark.parametrize("change", TABLES)
def test_tables_that_no_run_writes(session: Path, change: str) -> None:
    name, alter, expected = TABLES[change]
    path = session / "top" / name
    path.write_bytes(alter(path.read_text()).encode(errors="surrogateescape"))
    open_again(session)
    before = contents(session)
    problems = verify_session(session)["problems"]
    assert any(expected in problem for problem in problems[1:]), problems
    with pytest.raises(ValueError, match=expected):
        recover_session(session)
    assert contents(session) == before


@pytest.mark.parametrize(
    "summary",
    [
        *("", "[]", "[" * 10_000, '{"cameras": []}', '{"cameras": {"top": []}}', '{"cameras": {"top": {"frames": 5}}}'),
        '{"cameras": {"top": {"frames": {"captured": "many"}}}}',
        '{"cameras": {"top": {"counters": {"captured": [1], "disconnects": null}}}}',
        '{"cameras": {"top": {"counters": "none"}}, "problems": 5}',
    ],
)
def test_a_summary_that_no_run_writes(session: Path, summary: str) -> None:
    (session / "summary.json").write_text(summary)
    problems = verify_session(session)["problems"]
    assert any("summary.json can't be read" in problem for problem in problems), problems
    open_again(session)
    assert "summary.json was written" in recover_session(session)
    assert verify_session(session)["problems"] == []


# Whatever stands in session.json.

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["..", "../x", "/x", "video.mp4", "video.mkv", "C:\\x", "recording", "complete", "running"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places_in(value: object, way: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([way] if way else []), *(place for key, part in inner for place in places_in(part, (*way, key)))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_stands_in_the_record(sound: Path, tmp_path_factory, data: st.DataObject) -> None:
    """Verify and recover end with a finding or a documented error, and change nothing outside of the session."""
    place = tmp_path_factory.mktemp("hostile")
    session = Path(shutil.copytree(sound, place / "session"))
    (place / "victim.mp4").write_text("mine")
    record = json.loads((session / "session.json").read_text()) | {"state": "recording"}
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(places_in(record)))
        part = record
        for key in way:
            part = part[key]
        action = data.draw(st.sampled_from(["replace", "remove", "rename"]))
        if action == "replace" or isinstance(part, list):
            part[last] = data.draw(values)
        else:
            old = part.pop(last)
            if action == "rename":
                part[data.draw(st.text(max_size=10) | st.sampled_from(["..", "../x", "/x"]))] = old
    (session / "session.json").write_text(json.dumps(record))
    for path in session.rglob("*"):
        os.utime(path, (1e9, 1e9))
    for command in (verify_session, recover_session, verify_session):
        with contextlib.suppress(NoSessionError, InUseError, TableError):
            command(session)
    assert sorted(path.name for path in place.iterdir()) == ["session", "victim.mp4"]
    assert (place / "victim.mp4").read_text() == "mine"
    shutil.rmtree(place)


# Nothing is executed: every command that opens a session, a video's results, a project or a model.


@pytest.fixture
def trapped(session: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A session full of pickles that run a command, and the file that they would make."""
    marker = tmp_path / "executed"
    trap = Command(f"echo > {marker}")
    for name in ("videoDLC_x.h5", "videoDLC_x_full.h5", "CollectedData_me.h5"):
        path = session / "top" / name
        shutil.copyfile(session / "top" / "videoDLC_x.h5", path) if not path.exists() else None
        for place in PLACES:
            if place not in ("type", "another group"):  # these would keep it from looking at the others
                plant(path, place, trap)
    for name in ("videoDLC_x_meta.pickle", "more.pickle", "summary.pickle"):
        (session / "top" / name).write_bytes(pickle.dumps(trap))
    return session, marker


@pytest.mark.parametrize("state", ["complete", "recording"])
@pytest.mark.parametrize("place", PLACES)
def test_no_hdf5_file_of_a_session_is_unpickled(session: Path, tmp_path: Path, place: str, state: str) -> None:
    marker = tmp_path / "executed"
    if not plant(session / "top" / "videoDLC_x.h5", place, Command(f"echo > {marker}")):
        pytest.skip("this layout has no such place")
    if state == "recording":
        open_again(session)
    problems = verify_session(session)["problems"]
    assert not marker.exists()
    assert all("\n" not in problem for problem in problems)
    if state == "recording":
        recover_session(session)
        assert verify_session(session)["problems"] == []  # it was written anew
    assert not marker.exists()


def test_no_command_executes_what_lies_in_a_session(posestream, trapped, random_model: Path, tmp_path: Path) -> None:
    session, marker = trapped
    top = session / "top"
    # results of a video that was being analysed, in the place where the next call goes on
    (top / "videoDLC_resnet50_randomNov22shuffle1_1.partial").write_bytes(pickle.dumps(Command(f"echo > {marker}")))
    commands = [
        ("verify", session),
        ("verify", session, "--json"),
        ("backfill", session, "--model", random_model),
        ("analyze", top / "video.mp4", "--model", random_model, "--overwrite"),
        ("model", "info", session),
        ("model", "info", top / "videoDLC_x.h5"),
        ("model", "import", top / "more.pickle", tmp_path / "made"),
        ("model", "check", session, "--against", top / "more.pickle"),
        ("model", "optimize", session, "--precision", "int8", "--calibrate", top / "video.mp4"),
        ("recover", session),
    ]
    overlay = [sys.executable, str(OVERLAY), str(top), str(tmp_path / "out.png")]
    assert not subprocess.run(overlay, capture_output=True, check=False).returncode
    assert not marker.exists()
    for arguments in commands:
        status, out, err = posestream(*arguments).end()
        assert status in (0, 1, 2), (arguments, err)
        assert "Traceback" not in out + err, (arguments, err)
        assert not marker.exists(), arguments


def test_no_command_executes_what_lies_in_a_project(posestream, tmp_path: Path) -> None:
    import pandas as pd

    marker, project = tmp_path / "executed", tmp_path / "project"
    trap = Command(f"echo > {marker}")
    video = project / "labeled-data" / "m1"
    video.mkdir(parents=True)
    (project / "config.yaml").write_text("Task: x\nbodyparts: [snout]\n")
    columns = pd.MultiIndex.from_product([["me"], ["snout"], ["x", "y"]], names=["scorer", "bodyparts", "coords"])
    table = pd.DataFrame([[1.0, 2.0]], columns=columns, index=["labeled-data/m1/img0.png"])
    for layout in ("fixed", "table"):
        path = video / "CollectedData_me.h5"
        for place in PLACES:
            table.to_hdf(path, key="df_with_missing", format=layout, mode="w")
            plant(path, place, trap)
            status, _, err = posestream("train", project, "--output", tmp_path / "made", "--steps", 1).end()
            assert (status, "Traceback" in err, marker.exists()) == (2, False, False), (layout, place, err)
            break_early = place == "array" and layout == "table"  # the command takes seconds; the reader has all places
            if break_early or (layout == "fixed" and place == "column names"):
                break
    (project / "config.yaml").write_text(f"!!python/object/apply:os.system ['echo > {marker}']\n")
    for command in (("train", project, "--output", tmp_path / "made"), ("model", "info", project)):
        status, _, err = posestream(*command).end()
        assert (status, marker.exists()) == (2, False), err
    assert "error: " in err


# What lies beside a video.


@links
def test_results_of_a_video_are_not_written_through_links(posestream, random_model: Path, tmp_path: Path) -> None:
    from .conftest import write_video

    data, victim = tmp_path / "data", tmp_path / "victim"
    data.mkdir()
    video = write_video(data / "clip.mp4", 4)
    victim.write_text("mine")
    stem = "clipDLC_resnet50_randomNov22shuffle1_1"
    for ending in (".h5.tmp", ".csv.tmp", "_meta.pickle.tmp", ".csv"):
        (data / f"{stem}{ending}").symlink_to(victim)
    status, _, err = posestream("analyze", video, "--model", random_model).end()
    assert status == 0, err
    assert not (data / f"{stem}.csv").is_symlink()
    assert victim.read_text() == "mine"
    for ending in (".partial", ".partial.lock"):
        (data / f"{stem}{ending}").symlink_to(tmp_path / "new" if "lock" in ending else victim)
        status, out, _ = posestream("analyze", video, "--model", random_model, "--overwrite").end()
        assert status == 1
        assert "is a link; remove it" in out
        (data / f"{stem}{ending}").unlink()
    assert victim.read_text() == "mine"
    assert not (tmp_path / "new").exists()


@links
def test_a_video_in_a_session_that_leads_out_is_not_analysed(posestream, session: Path, random_model: Path) -> None:
    outside = session.parent / "outside"
    link(session / "top", outside)
    before = contents(outside)
    status, out, _ = posestream("analyze", session / "top" / "video.mp4", "--model", random_model).end()
    assert status == 1
    assert "is a link to" in out
    assert contents(outside) == before


def test_a_list_of_other_files_is_no_video(tmp_path: Path) -> None:
    from posestream.stream.session.video_times import decode_video

    from .conftest import write_video

    write_video(tmp_path / "other.mp4", 4)
    playlist = tmp_path / "video.mp4"
    playlist.write_text("ffconcat version 1.0\nfile other.mp4\n")
    decoded = decode_video(playlist)
    assert len(decoded.times_us) == 0
    assert decoded.problem


def test_a_name_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from posestream.stream.session.video_times import decode_video

    from .conftest import write_video

    write_video(tmp_path / "other.mp4", 4)
    monkeypatch.chdir(tmp_path)
    decoded = decode_video(Path("concat:other.mp4"))
    assert len(decoded.times_us) == 0
    assert decoded.problem


def test_what_a_stranger_says_does_not_move_the_cursor(posestream, session: Path) -> None:
    changed(session, lambda record: record.update(state="\x1b[2J\x1b]0;mine\x07"))
    (session / "top" / "frames.csv").write_text("\x1b[2J\n")
    for command in ("verify", "recover"):
        status, out, err = posestream(command, session).end()
        assert status == 2
        assert "\x1b" not in out + err


def test_a_model_on_another_machine_is_not_looked_at(session: Path) -> None:
    from posestream.stream.offline.backfill import Backfill, BackfillError

    for path in ("\\\\attacker\\share\\model", "//attacker/share/model"):
        record = json.loads((session / "session.json").read_text())
        record["inference"]["model_path"] = path
        (session / "session.json").write_text(json.dumps(record))
        with pytest.raises(BackfillError, match="on another machine"):
            Backfill(session).run()
