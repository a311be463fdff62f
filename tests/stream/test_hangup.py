"""A terminal that is closed, and other ways to be asked to end: each ends a run as Ctrl-C does."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posestream.stream.session.verify import verify_session

from ..support.waiting import until
from .conftest import ARENA, POSESTREAM, children_of, frames_in, free_endpoint, wait_for_processes, write_video

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP, and its console events need a console"),
]
RIG = ARENA.replace("width = 96", "width = 640").replace("height = 64", "height = 480")


def frames_table(folder: Path, rows: int) -> None:
    """Wait until the only session has so many rows."""
    until(lambda: sum(path.read_bytes().count(b"\n") for path in folder.glob("out/*/top/frames.csv")) > rows)


def closed(folder: Path) -> dict[str, Any]:
    (session,) = (folder / "out").iterdir()
    summary: dict[str, Any] = json.loads((session / "summary.json").read_text())
    assert verify_session(session)["problems"] == []
    assert json.loads((session / "session.json").read_text())["state"] == "complete"
    return summary


class Terminal:
    """A program in a terminal of its own, which can be closed."""

    def __init__(self, command: list[str], folder: Path, **options: Any) -> None:
        import pty

        self.master, slave = pty.openpty()
        program = (
            "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            start_new_session=True,
            **options,
        )
        os.close(slave)

    def close(self) -> None:
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*command: object, **options: Any) -> Terminal:
        started.append(Terminal([str(part) for part in command], tmp_path, **options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


def drained(terminal: Terminal) -> None:
    """Read what a program says, so that it never waits for the terminal."""

    def read() -> None:
        try:
            while os.read(terminal.master, 4096):
                pass
        except OSError:
            return

    threading.Thread(target=read, daemon=True).start()


def test_closing_the_terminal_ends_a_run_as_ctrl_c_does(terminal, rig, tmp_path) -> None:
    """The system sends SIGHUP, and whatever is written to the terminal fails."""
    run = terminal(POSESTREAM, "run", rig(RIG))
    frames_table(tmp_path, 30)
    processes = [run.process.pid, *children_of(run.process.pid).values()]
    run.close()
    assert run.process.wait(60) == 0
    assert wait_for_processes(processes) == []
    summary = closed(tmp_path)
    assert (summary["ended"], summary["exit_status"], summary["problems"]) == ("interrupted", 0, [])
    assert summary["cameras"]["top"]["frames"]["recorded"] >= 30


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM] if sys.platform != "win32" else [])
def test_a_signal_ends_a_run_as_ctrl_c_does(posestream, rig, number) -> None:
    run = posestream("run", rig(RIG), "--json")
    run.until_rows(30, "top/frames.csv")
    run.process.send_signal(number)
    summary = run.summary(0)
    assert (summary["ended"], summary["problems"]) == ("interrupted", [])


def test_nohup_outlives_its_terminal(posestream, rig) -> None:
    """What was started to outlive its terminal goes on, with its children."""
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a child inherits that
    try:
        run = posestream("run", rig(RIG), "--json")
    finally:
        signal.signal(signal.SIGHUP, ignored)
    run.until_rows(20, "top/frames.csv")
    for pid in (run.process.pid, *children_of(run.process.pid).values()):
        os.kill(pid, signal.SIGHUP)
    run.until_rows(80, "top/frames.csv")
    run.interrupt()
    summary = run.summary(0)
    assert summary["cameras"]["top"]["frames"]["recorded"] >= 80


def test_a_run_whose_reader_has_gone_goes_on(posestream, rig, tmp_path) -> None:
    """An ssh connection without a terminal that breaks leaves pipes that nobody reads."""
    run = posestream("run", rig(RIG), "--seconds", 6)
    frames_table(tmp_path, 30)
    run.process.stdout.close()
    run.process.stderr.close()
    assert run.process.wait(90) == 0
    summary = closed(tmp_path)
    assert summary["ended"] == "seconds"


def test_a_process_that_was_started_by_hand_closes_its_files(posestream, rig, terminal, tmp_path) -> None:
    control = free_endpoint()
    text = f'{RIG}endpoint = "{free_endpoint()}"\nremote = true\n[network]\ncontrol = "{control}"\n'
    run = posestream("run", rig(text), "--json")
    joined = terminal(POSESTREAM, "join", "camera:top", control)
    until(lambda: any(path.read_bytes().count(b"\n") > 30 for path in tmp_path.glob("recordings/*/top/frames.csv")))
    joined.close()
    assert joined.process.wait(30) == 0
    summary = run.summary(0)
    assert summary["ended"] == "cameras ended"
    (folder,) = tmp_path.glob("recordings/*/top")
    assert frames_in(folder / "video.mp4") == (folder / "frames.csv").read_text().count("\n") - 1 > 30


def test_closing_the_terminal_ends_an_analysis_as_ctrl_c_does(terminal, random_model, plugins, tmp_path) -> None:
    video = write_video(tmp_path / "long.mp4", 2_000, 240, 320)
    command = [POSESTREAM, "analyze", video, "--model", random_model, "--engine", "trouble", "--precision", "float32"]
    work = terminal(*command, env=plugins | {"TROUBLE_ENGINE": "slow"})
    drained(work)
    until(lambda: any(path.stat().st_size > 2_000 for path in tmp_path.glob("*partial*")), 90)
    os.killpg(work.process.pid, signal.SIGHUP)
    assert work.process.wait(60) == 1
    assert any(tmp_path.glob("*partial*"))
