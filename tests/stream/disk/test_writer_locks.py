"""A session that is alive is known by the locks that its processes hold, and by nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from posestream.stream.disk.lock import LiveSessionError, file_lock, session_lock
from posestream.stream.disk.writer_locks import InUseError, writer_lock, writers
from posestream.stream.session.recover import recover_session
from posestream.stream.session.verify import verify_session

from ...support.runs import children_of, wait_for_processes
from ...support.waiting import until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]
# Nothing is delivered from the first second on: files are as quiet as those of a camera that waits for its trigger.
WAITING = """
[cameras.top]
backend = "synthetic"
width = 640
height = 480
rate_hz = 50.0
buffers = 1000
stall = [0.5, 3600.0]
timeout_s = 600
"""
QUIET_S = 6.0


def quiet(folder: Path) -> bool:
    """Whether nothing was written for longer than any age of files that was ever taken for an end."""
    newest = max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())
    return time.time() - newest > QUIET_S


def content(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_camera_that_waits_is_alive_and_what_was_killed_is_recovered_at_once(posestream, rig, tmp_path) -> None:
    run = posestream("run", rig(WAITING))
    run.until_rows(10, "top/frames.csv")
    [folder] = (tmp_path / "out").iterdir()
    until(lambda: quiet(folder))
    before = content(folder)
    for command in ("recover", "backfill"):
        status, _, err = posestream(command, folder).end()
        assert status == 2
        assert "is being recorded by camera top, the supervisor; wait until the run has ended" in err
    status, out, _ = posestream("verify", folder, "--json").end()
    assert (status, json.loads(out)["proved"]) == (1, False)
    assert "being recorded or changed by camera top, the supervisor" in json.loads(out)["problems"][0]
    status, _, err = posestream("analyze", folder / "top" / "video.mp4", "--model", "openfield-mouse").end()
    assert status == 1
    assert content(folder) == before

    camera = children_of(run.process.pid)["acquisition:top"]
    os.kill(run.process.pid, signal.SIGSTOP)  # or it would be the one to close the session
    os.kill(camera, signal.SIGKILL)
    until(lambda: writers(folder) == ["the supervisor"])
    with pytest.raises(LiveSessionError, match="by the supervisor;"):
        recover_session(folder)
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    for path in folder.rglob("*"):  # a clock that was wrong is no obstacle
        os.utime(path, (time.time() + 86_400,) * 2)
    assert list(folder.glob("*.lock"))
    assert "summary.json was written" in recover_session(folder)
    assert list(folder.glob("*.lock")) == []
    assert verify_session(folder)["problems"] == []


def test_a_camera_that_writes_is_alive_though_the_supervisor_was_killed(posestream, rig, tmp_path) -> None:
    run = posestream("run", rig(WAITING))
    run.until_rows(10, "top/frames.csv")
    [folder] = (tmp_path / "out").iterdir()
    camera = children_of(run.process.pid)["acquisition:top"]
    os.kill(camera, signal.SIGSTOP)
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    with pytest.raises(LiveSessionError, match="by camera top;"):
        recover_session(folder)
    os.kill(camera, signal.SIGCONT)  # it sees that it is alone and closes its files
    assert wait_for_processes([camera]) == []
    assert writers(folder) == []
    recover_session(folder)
    assert verify_session(folder)["problems"] == []


def test_a_run_that_ends_leaves_no_lock_and_a_manifest_of_all_files(posestream, rig) -> None:
    summary = posestream("run", rig(WAITING.replace("stall", "# ")), "--seconds", 1, "--json").summary(status=0)
    folder = Path(summary["folder"])
    assert list(folder.rglob("*.lock")) == []
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"].keys() == files - {"manifest.json"}
    assert manifest["session"] == summary["session"]
    (folder / "supervisor.lock").touch()  # as a kill leaves it
    assert verify_session(folder)["proved"]


HOLD = """
import sys
from pathlib import Path
from posestream.stream.disk.writer_locks import writer_lock
held = writer_lock(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.read()
held.release()
"""


def test_a_lock_is_held_until_it_is_released_or_its_process_is_killed(tmp_path: Path) -> None:
    roles = {"supervisor": "the supervisor", "camera:side": "camera side", "poses": "the pose recorder"}
    holders = {
        role: subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), role], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for role in roles
    }
    for holder in holders.values():
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
    assert sorted(writers(tmp_path)) == sorted(roles.values())
    with pytest.raises(InUseError, match="camera side"):
        writer_lock(tmp_path, "camera:side")
    holders["poses"].kill()
    holders["poses"].communicate()
    for role in ("supervisor", "camera:side"):
        holders[role].communicate()
    assert writers(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["poses.lock"]
    writer_lock(tmp_path, "poses").release()  # what was left behind is no obstacle
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told_as_that_and_not_as_in_use(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), file_lock(tmp_path / "file" / "x.lock", "in use"):
        pass
    (tmp_path / "camera-top.lock").mkdir()
    with pytest.raises(IsADirectoryError):
        writers(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_permission_errors_are_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError), session_lock(tmp_path):
        pass
