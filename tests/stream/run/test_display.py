"""What a person sees, at every width of the terminal."""

import re
import sys
from io import StringIO

import pytest

from posestream.stream.offline.progress import Progress
from posestream.stream.run.display import TerminalDisplay, progress_parts, status_lines, summary_row
from posestream.stream.run.fitting import Part, fit_line, wrap
from posestream.stream.run.outcome import RunView
from posestream.stream.wire.counters import CameraCounters, InferenceCounters, StreamCounters, WorkProgress

from ...support.runs import ARENA, in_terminal


def view(cameras: int = 1, **counts: int) -> RunView:
    names = [f"camera{number}" for number in range(cameras)]
    poses = StreamCounters(poses=75_000, skipped={"fresher-frame": 420})
    return RunView(
        seconds=754.2,
        asked_s=3600.0,
        cameras={name: CameraCounters(rows_recorded=75_420, rate_hz=100.0, **counts) for name in names},
        inference=InferenceCounters(cameras=dict.fromkeys(names, poses), age_p50_ms=24.4, age_p99_ms=39.2),
        malformed=3,
        refused=2,
        free_bytes=71 * 2**30,
    )


@pytest.mark.parametrize("cameras", [1, 2, 5])
@pytest.mark.parametrize("width", [30, 40, 60, 79, 120, 200])
def test_the_age_of_poses_and_the_disk_are_never_beyond_the_edge(width: int, cameras: int) -> None:
    lines = status_lines(view(cameras, lost_queue=7), width)
    assert max(map(len, lines)) <= width
    said = "\n".join(lines)
    assert "754/3600 s" in said
    assert "24 ms" in said
    assert "71 GiB" in said
    assert said.count("7 lost") == cameras


def test_what_matters_least_is_left_out_first() -> None:
    assert "3 malformed messages dropped" in status_lines(view(), 200)[0]
    at_80 = "\n".join(status_lines(view(), 79))
    assert "poses 24 ms old (99 %: 39)" in at_80
    assert "75420 frames at 100.0/s" in at_80
    assert "75000 poses, 420 skipped" in at_80
    at_44 = "\n".join(status_lines(view(), 44))
    assert "malformed" not in at_44
    assert "poses 24 ms old | 71 GiB left" in at_44


def test_all_of_it_goes_to_a_file_on_one_line() -> None:
    (line,) = status_lines(view(3), None)
    assert line.count("75420 frames at 100.0/s, none lost, 75000 poses, 420 skipped") == 3


def test_frames_that_wait_long_for_the_encoder_are_shown() -> None:
    assert "behind" not in status_lines(view(waiting_ms=400), None)[0]
    assert "encoder 1.7 s behind" in status_lines(view(waiting_ms=1700), None)[0]


def test_a_line_is_cut_where_nothing_is_left_to_leave_out() -> None:
    parts = [Part(2, ("first", "1")), Part(1, ("second", ""))]
    assert [fit_line(parts, width) for width in (None, 14, 13, 4, 1)] == [
        "first | second",
        "first | second",
        "first",
        "1",
        "1",
    ]


def test_progress_counts_the_whole() -> None:
    work = Progress("clip", done=25, total=75, seconds=5.0, before=100).by_name
    assert work == {"clip": WorkProgress(done=125, total=175, per_second=5.0, left_s=10.0)}
    assert fit_line(progress_parts(work), 79).endswith("125 of 175 frames, 5.0/s, 0:00:10 left")
    assert fit_line(progress_parts(work), 10) == "71%"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_row_breaks_between_words_alone(width: int) -> None:
    text = "RMSE 1.3 px, median 1.0 px (snout 1.1, leftear 1.7, rightear 1.4), mean likelihood 0.99"
    lines = summary_row("error to the truth", text, width).splitlines()
    assert max(map(len, lines)) < width
    assert " ".join(" ".join(lines).split()) == f"error to the truth {text}"


def test_a_path_is_never_broken() -> None:
    path = "/recordings/" + "long" * 30
    assert path in wrap(f"recording to {path}", 40).splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals for Python")
@pytest.mark.parametrize("columns", [60, 80])
def test_a_run_in_a_terminal_writes_nothing_beyond_its_edge(rig, random_model, tmp_path, columns: int) -> None:
    text = f'{ARENA}[inference]\nmodel = "{random_model}"\n'
    status, lines = in_terminal(columns, ["run", str(rig(text)), "--seconds", "4"], tmp_path)
    assert status == 0, lines
    long = [line for line in lines if len(line) > columns]
    assert [line for line in long if "/" not in line] == []  # a path stays whole, so that it can be copied
    assert any(re.search(r"/4 s \| poses \d+ ms old.* \| \d+ GiB left$", line) for line in lines), lines
    assert any(line.startswith("top: ") and "frames at" in line for line in lines)


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_below_the_counts(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    for total, barred in ((175, True), (0, False)):
        terminal = _Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        with TerminalDisplay() as display:
            display.progress(Progress("clip", done=25, total=total, seconds=5.0).by_name)
        assert "clip: 25" in terminal.getvalue()
        assert ("\u2501" * 8 in terminal.getvalue()) == barred
