"""Videos analysed: the program as people call it, and its work in this process where that is quicker."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from posestream.inference.windows.crop_window import CropWindowSettings
from posestream.inference.windows.framing import Framing, Region
from posestream.stream.offline.analyze import Analyses, AnalysisResult, AnalyzeError, AnalyzeSettings, find_videos
from posestream.stream.offline.partial_poses import PartialPoses
from posestream.stream.offline.progress import Progress

from ...support.runs import in_terminal
from ...support.waiting import until
from ..conftest import BODYPARTS, write_video

pytestmark = pytest.mark.timeout(180)
SCORER = "DLC_resnet50_randomNov22shuffle1_1"
FRAMES = 20


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", FRAMES)


@pytest.fixture
def analyze(random_model: Path) -> Callable[..., AnalysisResult]:
    def run(
        *given: Path,
        work: Callable[[Analyses], None] = lambda _: None,
        show: Callable[[Progress], None] = lambda _: None,
        **options: Any,
    ) -> AnalysisResult:
        def shown(progress: Progress) -> None:
            show(progress)
            work(analyses)

        settings = AnalyzeSettings(**dict[str, Any](model=random_model, batch_size=4) | options)
        analyses = Analyses(find_videos(given, settings.output), settings, show=shown)
        return analyses.run()

    return run


def table_of(video: Path) -> pd.DataFrame:
    return pd.DataFrame(pd.read_hdf(video.with_name(f"{video.stem}{SCORER}.h5")))


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if SCORER in path.name}


RESULTS = {f"clip{SCORER}{ending}" for ending in (".h5", ".csv", "_meta.pickle")}


def test_deeplabcuts_files_of_a_video_and_a_folder(posestream, random_model: Path, video: Path) -> None:
    folder = video.parent / "more"
    folder.mkdir()
    write_video(folder / "one.mp4", 5)
    write_video(folder / "one_labeled.mp4", 5)
    (folder / "notes.txt").write_text("none")
    status, out, err = posestream("analyze", video, folder, "--model", random_model, "--output", "out", "--json").end()
    assert status == 0, err
    result = json.loads(out)
    assert [(entry["state"], entry["frames"]) for entry in result["videos"]] == [("done", FRAMES), ("done", 5)]
    assert result["problems"] == []
    assert left_in(video.parent / "out") == {*RESULTS, *(name.replace("clip", "one") for name in RESULTS)}
    table = table_of(video.parent / "out" / "clip.mp4")
    assert table.shape == (FRAMES, 3 * len(BODYPARTS))
    assert [*table.columns[:3]] == [(SCORER, BODYPARTS[0], value) for value in ("x", "y", "likelihood")]
    assert table.notna().all(axis=None)
    with (video.parent / "out" / f"clip{SCORER}_meta.pickle").open("rb") as file:
        meta = pickle.load(file)["data"]  # noqa: S301 - our own
    assert (meta["nframes"], meta["fps"], meta["frame_dimensions"], meta["cropping"]) == (FRAMES, 30, (48, 64), False)


def test_the_poses_of_the_clip_are_those_of_model_check(openfield_clip: Path, lmtracker_folder: Path, tmp_path) -> None:
    """On the first frames at half the size, with a network that a lab trained."""
    from itertools import islice

    from posestream.inference.engines import open_engine
    from posestream.inference.engines.check import run_batches, video_frames
    from posestream.inference.formats.models import load_model

    frames = np.stack(list(islice(video_frames(openfield_clip, (320, 240)), 4)))[..., :1]
    bundle = load_model(lmtracker_folder)
    expected, _ = run_batches(open_engine(bundle, "openvino", "float32"), np.ascontiguousarray(frames), "gray8", 2)
    settings = AnalyzeSettings(
        model=lmtracker_folder, output=tmp_path, batch_size=2, framing=Framing(scale=0.5), precision="float32"
    )
    analyses = Analyses([openfield_clip], settings, show=lambda done: analyses.stop() if done.done == 4 else None)
    assert analyses.run()["videos"][0]["frames"] == 4
    [partial] = tmp_path.glob("*.partial")
    found = np.frombuffer(partial.read_bytes().split(b"\n", 1)[1]).reshape(4, -1, 3)
    np.testing.assert_allclose(found[..., :2], expected[..., :2] * 2 + 0.5, atol=1e-3)
    np.testing.assert_allclose(found[..., 2], expected[..., 2], atol=1e-6)


def test_what_was_stopped_goes_on_to_the_same_files(analyze, video: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    analyze(video, output=whole)
    result = analyze(video, output=parts, work=Analyses.stop)
    assert result["stopped"]
    assert result["videos"][0] | {"frames": 4, "state": "stopped"} == result["videos"][0]
    assert left_in(parts) == {f"clip{SCORER}.partial"}
    counted: list[Progress] = []
    result = analyze(video, output=parts, show=counted.append)
    assert result["videos"][0]["resumed"] == 4
    assert (counted[0].by_name["clip.mp4"].done, counted[0].by_name["clip.mp4"].total) == (8, FRAMES)
    assert left_in(parts) == RESULTS
    pd.testing.assert_frame_equal(table_of(parts / "clip.mp4"), table_of(whole / "clip.mp4"))
    csv = f"clip{SCORER}.csv"
    assert (parts / csv).read_bytes() == (whole / csv).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_analysis_goes_on_to_the_same_files(posestream, analyze, random_model: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", 80)
    analyze(video, batch_size=2, output=tmp_path / "whole")
    running = posestream("analyze", video, "--model", random_model, "--batch-size", 2)
    partial = tmp_path / f"clip{SCORER}.partial"
    until(lambda: partial.exists() and partial.stat().st_size > 1200, meanwhile=running.check)
    running.process.kill()
    running.end()
    assert left_in(tmp_path) - {f"{partial.name}.lock"} == {partial.name}
    status, out, err = posestream("analyze", video, "--model", random_model, "--batch-size", 2, "--json").end()
    assert status == 0, err
    assert json.loads(out)["videos"][0]["resumed"] > 0
    assert left_in(tmp_path) == RESULTS
    csv = f"clip{SCORER}.csv"
    assert (tmp_path / csv).read_bytes() == (tmp_path / "whole" / csv).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_says_how_to_go_on(posestream, random_model: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", 200)
    running = posestream("analyze", video, "--model", random_model, "--batch-size", 2)
    partial = tmp_path / f"clip{SCORER}.partial"
    until(lambda: partial.exists() and partial.stat().st_size > 1200, meanwhile=running.check)
    running.process.send_signal(signal.SIGINT)
    status, out, err = running.end()
    assert status == 1
    assert "the same command resumes" in out
    assert "Traceback" not in err
    assert left_in(tmp_path) == {partial.name}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_is_answered_while_the_network_is_loading(random_model: Path, video: Path, tmp_path: Path) -> None:
    """On TensorFlow, whose import and first run take seconds in libraries."""
    sent: list[str] = []

    def react(shown: str, process: subprocess.Popen[bytes]) -> None:
        if "loading the network" in shown and not sent:
            sent.append(shown)
            process.send_signal(signal.SIGINT)

    options = ["--model", str(random_model), "--engine", "tensorflow", "--precision", "float32"]
    status, lines = in_terminal(80, ["analyze", str(video), *options], tmp_path, react)
    assert status == 1, lines
    assert "stopping; the poses so far are kept" in lines
    assert not any("Traceback" in line for line in lines), lines
    assert left_in(tmp_path) - {f"clip{SCORER}.partial.lock"} == set()


def test_a_broken_video_does_not_stop_the_others(posestream, random_model: Path, video: Path) -> None:
    text = video.with_name("notes.mp4")
    text.write_text("no video")
    cut = write_video(video.with_name("cut.mkv"), 40)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    status, out, _ = posestream("analyze", text, cut, video, "--model", random_model).end()
    assert status == 1
    assert left_in(video.parent) >= RESULTS
    assert 0 < len(table_of(cut)) < 40  # what can be read of it is kept
    problems = [line for line in out.splitlines() if line.startswith("problem:")]
    assert [str(text) in problems[0], len(problems)] == [True, 1]


def test_a_video_that_is_cut_short_is_named(analyze, tmp_path: Path) -> None:
    import av

    whole, video = write_video(tmp_path / "whole.mp4", 40), tmp_path / "clip.mp4"
    with av.open(str(whole)) as read, av.open(str(video), "w", options={"movflags": "faststart"}) as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    result = analyze(video)
    assert result["videos"][0]["state"] == "done"
    assert result["videos"][0]["frames"] == len(table_of(video)) < 40
    assert "cut short" in result["problems"][0]


def test_what_has_results_is_left_alone(analyze, video: Path) -> None:
    analyze(video)
    before = {path: path.stat().st_mtime_ns for path in video.parent.iterdir()}
    assert analyze(video)["videos"][0]["state"] == "skipped"
    assert {path: path.stat().st_mtime_ns for path in video.parent.iterdir()} == before
    assert analyze(video, overwrite=True)["videos"][0]["state"] == "done"
    assert {path: path.stat().st_mtime_ns for path in video.parent.iterdir()} != before


def test_results_that_are_being_replaced_go_on(analyze, video: Path) -> None:
    analyze(video)
    assert analyze(video, overwrite=True, work=Analyses.stop)["stopped"]
    assert analyze(video)["videos"][0]["resumed"] == 4


@pytest.mark.parametrize("change", ["crop", "model", "video"])
def test_a_partial_file_of_others_is_not_gone_on_with(
    analyze, video: Path, random_model: Path, tmp_path: Path, change: str
) -> None:
    assert analyze(video, work=Analyses.stop)["stopped"]
    options: dict[str, Any] = {}
    if change == "crop":
        options["framing"] = Framing(Region(0, 0, 32, 32))
    elif change == "video":
        os.utime(video, ns=(1, 1))
    else:
        from posestream.inference.formats.bundle import ModelBundle

        bundle = ModelBundle.load(random_model)
        name = sorted(bundle.weights)[0]
        ModelBundle(bundle.spec, bundle.weights | {name: bundle.weights[name] * 2}).save(tmp_path / "other")
        options["model"] = tmp_path / "other"
    result = analyze(video, **options)["videos"][0]
    assert (result["resumed"], result["frames"]) == (0, FRAMES)


def test_rows_that_a_crash_cut_short_are_left_out(tmp_path: Path) -> None:
    path, settings = tmp_path / "poses.partial", {"a": 1}
    rows = np.arange(30.0).reshape(10, 3)
    partial = PartialPoses(path, settings, width=3, batch_size=4)
    partial.append(rows)
    partial.close()
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        partial = PartialPoses(path, settings, width=3, batch_size=4)
        assert partial.kept == max(0, (cut - len(whole) + 240) // 24 // 4 * 4)
        partial.append(rows[partial.kept :])
        np.testing.assert_array_equal(partial.read(), rows)
        partial.close()


def test_a_following_window_in_which_no_animal_is(analyze, video: Path, tmp_path: Path) -> None:
    """Whole frames are asked, and give what they give without a window."""
    crop_window = CropWindowSettings(sides=(64,), margin_px=8, threshold=1.0)
    result = analyze(video, output=tmp_path / "window", crop_window=crop_window)["videos"][0]
    assert result["follow"] == {"windows": 0, "whole": FRAMES, "checks": 0, "disagreed": 0}
    analyze(video)
    np.testing.assert_allclose(table_of(tmp_path / "window" / "clip.mp4"), table_of(video), atol=1e-3)


def test_two_at_once(analyze, video: Path) -> None:
    problems: list[str] = []

    def meanwhile(_: Analyses) -> None:
        if not problems:
            problems.extend(analyze(video)["problems"])

    assert analyze(video, work=meanwhile)["videos"][0]["state"] == "done"
    assert "another posestream" in problems[0]


def test_wrong_use(posestream, random_model: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    same = write_video(tmp_path / "empty" / "clip.mkv", 2)
    for given, says in (
        ((tmp_path / "absent.mp4",), "no such video"),
        ((video, same, "--output", "out"), "the same results"),
        ((video, "--crop", "1,2,3"), "X,Y,WIDTH,HEIGHT"),
        ((video, "--model", tmp_path / "none"), "No such model"),
        ((video, "--window", "100"), "multiple of 32"),
        ((video, "--window-margin", "32"), "add --window"),
    ):
        status, _, err = posestream("analyze", "--model", random_model, *given).end()
        assert (status, says in err, "Traceback" in err) == (2, True, False), err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_videos_and_a_video_named_twice(video: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnalyzeError, match="no video"):
        find_videos([tmp_path / "empty"], None)
    assert find_videos([video, tmp_path, video], None) == [video]


def test_a_region_outside_the_frame(analyze, video: Path) -> None:
    result = analyze(video, framing=Framing(Region(0, 0, 65, 10)))
    assert result["videos"][0]["state"] == "failed"
    assert "not within" in result["problems"][0]
    assert left_in(video.parent) == set()
