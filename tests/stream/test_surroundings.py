"""What a run finds around it: other runs of its name, sockets of those that were killed, and disks that go away."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from posestream.stream.rig import parse_rig
from posestream.stream.session.record import Session
from posestream.stream.session.verify import verify_session

from ..support.waiting import until
from .conftest import ARENA, POSESTREAM, children_of, frames_in, wait_for_processes

pytestmark = pytest.mark.timeout(180)
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no ipc sockets and no SIGKILL")
MOUNT, UMOUNT = (shutil.which(name) or name for name in ("mount", "umount"))
RIG = ARENA.replace("width = 96", "width = 640").replace("height = 64", "height = 480")


def test_runs_of_one_name_in_one_second_have_a_folder_each(posestream, rig, tmp_path) -> None:
    runs = [posestream("run", rig(RIG, f"{number}.toml"), "--seconds", 1, "--json") for number in range(4)]
    folders = [run.summary(0)["folder"] for run in runs]
    assert len(set(folders)) == 4
    assert {path.name for path in (tmp_path / "out").iterdir()} == {Path(folder).name for folder in folders}


def test_whoever_claims_a_folder_has_it_alone(tmp_path, monkeypatch) -> None:
    """As from several machines on one network drive: nobody sees the others, and all have the same second."""
    from datetime import datetime

    class Noon(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 22, 12, tzinfo=tz)

    monkeypatch.setattr("posestream.stream.session.record.datetime", Noon)
    rig = parse_rig({"cameras": {"top": {"backend": "synthetic"}}}, "test")
    sessions = [Session(rig, tmp_path) for _ in range(20)]
    together = threading.Barrier(len(sessions))

    def claim(session: Session) -> None:
        together.wait()
        session.claim()

    threads = [threading.Thread(target=claim, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    name = "2026-11-22T12-00-00_session"
    assert {session.folder.name for session in sessions} == {name, *(f"{name}-{number}" for number in range(2, 21))}
    sessions[0].let_go()
    assert not sessions[0].folder.exists()


# Local sockets.


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder of its own, whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ps-", dir=os.environ.get("TMPDIR") or tempfile.gettempdir()) as name:
        yield Path(name)


@POSIX
def test_sockets_go_with_their_run_and_those_of_killed_runs_with_the_next(posestream, rig, plugins, temporary) -> None:
    environment = os.environ | {"TMPDIR": str(temporary)}
    sockets = temporary / f"posestream-{os.getuid()}"
    killed = posestream("run", rig(RIG), env=environment)
    killed.until_rows(5, "top/frames.csv")
    assert len(list(sockets.iterdir())) == 2
    assert sockets.stat().st_mode & 0o777 == 0o700
    processes = [*children_of(killed.process.pid).values(), killed.process.pid]
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    killed.process.wait()
    wait_for_processes(processes)
    left = list(sockets.iterdir())
    assert len(left) == 2
    for path in left:  # a while ago
        os.utime(path, (time.time() - 60, time.time() - 60))

    running = posestream("run", rig(RIG), "--json", env=environment)
    running.until("recording to")
    assert not set(left) & set(sockets.iterdir())
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(sockets / "control-999999999-0123abcd"))  # of another container, whose processes are not seen
    listening.listen()
    for path in sockets.iterdir():
        os.utime(path, (time.time() - 60, time.time() - 60))
    kept = set(sockets.iterdir())
    posestream("run", rig(RIG), "--seconds", 1, "--json", env=environment).summary(0)
    assert set(sockets.iterdir()) == kept
    listening.close()
    running.interrupt()
    assert running.summary(0)["refused"] == {"supervisor": 0, "camera:top": 0}  # nobody knocked at its door
    assert [path.name for path in sockets.iterdir()] == ["control-999999999-0123abcd"]


@POSIX
def test_a_folder_of_sockets_that_somebody_else_laid_out_is_refused(posestream, rig, tmp_path, temporary) -> None:
    (temporary / f"posestream-{os.getuid()}").symlink_to(tmp_path)
    status, _, err = posestream("run", rig(RIG), env=os.environ | {"TMPDIR": str(temporary)}).end()
    assert status == 2
    assert "is another user's, or no folder" in err
    assert not any((tmp_path / "out").iterdir())


@POSIX
def test_a_folder_of_sockets_that_others_may_enter_is_closed_to_them(posestream, rig, temporary) -> None:
    sockets = temporary / f"posestream-{os.getuid()}"
    sockets.mkdir()
    sockets.chmod(0o777)
    posestream("run", rig(RIG), "--seconds", 1, "--json", env=os.environ | {"TMPDIR": str(temporary)}).summary(0)
    assert sockets.stat().st_mode & 0o777 == 0o700


# Disks.


def test_a_session_folder_that_is_deleted_ends_the_run_in_order(posestream, rig) -> None:
    run = posestream("run", rig(RIG), "--json")
    run.until_rows(30, "top/frames.csv")
    (session,) = (run.cwd / "out").iterdir()
    shutil.rmtree(session)
    status, out, err = run.end(60)
    assert status == 1
    summary = json.loads(out)
    assert summary["ended"] == "failure"
    assert any(f"the session folder {session} is gone" in problem for problem in summary["problems"])
    assert "Traceback" not in err
    assert "Errno" not in err
    assert not session.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = [MOUNT, "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root on Linux alone")
    yield folder
    subprocess.run([UMOUNT, "-l", str(folder)], capture_output=True, check=False)


def small(rig_file: Path, disk: Path) -> Path:
    text = rig_file.read_text().replace('output = "out"', f'output = "{disk}"\nstop_free_gib = 0.0')
    rig_file.write_text(text.replace("min_free_gib = 0.01", "min_free_gib = 0.0"))
    return rig_file


class Filler:
    """Another program that takes every byte that is free on a disk."""

    def __init__(self, disk: Path) -> None:
        self._path, self._stopping = disk / "other", threading.Event()
        self._thread = threading.Thread(target=self._fill)
        self._thread.start()

    def _fill(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            while not self._stopping.is_set():
                with contextlib.suppress(OSError):
                    if file.write(bytes(2**12)):
                        continue
                time.sleep(0.0005)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._path.unlink()


def rows_on(disk: Path, number: int, table: str) -> None:
    until(lambda: sum(path.read_bytes().count(b"\n") for path in disk.glob(f"*/top/{table}")) > number)


def test_a_disk_that_others_fill_while_the_files_are_closed(posestream, rig, plugins, random_model, small_disk) -> None:
    text = f'{RIG}[inference]\nmodel = {json.dumps(str(random_model))}\nengine = "trouble"\n'
    run = posestream("run", small(rig(text), small_disk), "--json", env=plugins)
    rows_on(small_disk, 60, "poses.csv")
    filler = Filler(small_disk)
    try:
        run.interrupt()
        status, out, err = run.end(120)
    finally:
        filler.close()
    assert status == 1
    summary = json.loads(out)
    assert "HDF5" not in out + err
    assert "Traceback" not in err
    assert any("the disk is full" in problem for problem in summary["problems"])
    assert any("posestream recover" in problem for problem in summary["problems"])
    (session,) = small_disk.iterdir()
    assert json.loads((session / "session.json").read_text())["state"] == "recording"
    newest = max(path.stat().st_mtime for path in session.rglob("*"))
    until(lambda: time.time() - newest > 6)  # what was written to a moment ago may still be recorded
    recovered = subprocess.run([POSESTREAM, "recover", str(session)], capture_output=True, text=True, check=False)
    assert recovered.returncode == 0, recovered.stderr
    assert list((session / "top").glob("*.h5"))
    assert verify_session(session)["problems"] == []
    assert frames_in(session / "top" / "video.mp4") > 30
    assert (session / "top" / "poses.csv").read_text().count("\n") > 60


def test_a_disk_that_is_unmounted_ends_the_run_in_order(posestream, rig, small_disk) -> None:
    run = posestream("run", small(rig(RIG), small_disk), "--json")
    rows_on(small_disk, 30, "frames.csv")
    subprocess.run([UMOUNT, "-l", str(small_disk)], check=True)
    status, out, err = run.end(90)
    assert status == 1
    summary = json.loads(out)
    assert summary["ended"] == "failure"
    assert any("is gone" in problem for problem in summary["problems"])
    assert "Traceback" not in err


@POSIX
def test_what_no_system_takes_is_refused_before_anything_starts(posestream, rig, tmp_path) -> None:
    path = rig(RIG)
    for change in (
        'session.output="a\\u0000b"',
        "session.name=x\n",
        "cameras.top.backend=\x07",
        "session.output=\udcff",
    ):
        status, _, err = posestream("run", path, "--set", change).end()
        assert status == 2, err
        assert "has the character U+" in err
    assert not (tmp_path / "out").exists()
