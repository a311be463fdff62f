"""What can be done to a closed session: each manipulation with its name, its kind, and what does it.

A manipulation is a function that changes a fresh copy of a session of the cameras `a` and `b`. `harmless` ones change
nothing of what was recorded, and must not be held against a session.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from forged import Manipulation, edit_json
from forged_tables import of_cells, of_deeplabcut, of_tables
from forged_videos import of_videos

__all__ = ["Manipulation", "manipulations"]


def manipulations(session: Path, other: Path) -> list[Manipulation]:
    """Give all manipulations of a session; `other` is another session, with the same cameras."""
    made = [
        *of_videos(session, other),
        *of_cells(session),
        *of_tables(),
        *of_deeplabcut(session),
        *_of_records(),
        *_of_files(session),
    ]
    assert len({one.name for one in made}) == len(made), "two manipulations of one name"
    return made


# What the run says of itself.


def _of_records() -> Iterator[Manipulation]:
    def on(file: str, name: str, change: Callable[[Any], object]) -> Manipulation:
        return Manipulation(f"{file}: {name}", "records of the run", lambda copy: edit_json(copy / file, change))

    session, summary = "session.json", "summary.json"
    yield on(session, "a camera removed", lambda said: (said["cameras"].pop("a"), said["rig"]["cameras"].pop("a")))
    yield on(session, "a camera called remote", lambda said: said["rig"]["cameras"]["a"].update(remote=True))
    yield on(session, "another id", lambda said: said.update(id="0" * 32))
    yield on(session, "recovered, not complete", lambda said: said.update(state="recovered"))
    yield on(session, "still recording", lambda said: said.update(state="recording"))
    yield on(session, "another rate in the rig", lambda said: said["rig"]["cameras"]["a"].update(rate_hz=77.0))
    yield on(session, "another quality in the rig", lambda said: said["rig"]["recording"].update(crf=5.0))
    yield on(session, "another version of posestream", lambda said: said["versions"].update(posestream="9.9"))
    yield on(session, "another machine", lambda said: said["machine"].update(name="another"))
    yield on(session, "an anchor moved by a second", _anchor)
    yield on(session, "another width of a stream", lambda said: said["cameras"]["a"]["stream"].update(width=320))
    yield on(session, "no inference", lambda said: said.update(inference=None))
    yield on(session, "another stride of the network", lambda said: said["inference"]["model"].update(stride=16))
    yield on(session, "another video", lambda said: said["cameras"]["a"].update(video="video.mkv"))
    yield on(summary, "one frame more recorded", lambda said: _more(said["cameras"]["a"]["frames"], "recorded"))
    yield on(summary, "one frame more captured", lambda said: _more(said["cameras"]["a"]["frames"], "captured"))
    yield on(summary, "one live pose more", lambda said: _more(said["cameras"]["a"]["pose_states"], "live"))
    yield on(summary, "a camera removed", lambda said: said["cameras"].pop("a"))
    yield on(summary, "another measured rate", lambda said: said["cameras"]["a"]["rate_hz"].update(measured=99.0))
    yield on(summary, "a problem added", lambda said: said["problems"].append("something"))
    yield on(summary, "another exit status", lambda said: said.update(exit_status=1 - said["exit_status"]))
    yield Manipulation("two files: a camera renamed everywhere", "records of the run", _rename_camera)
    log = "events.jsonl"
    yield Manipulation(
        f"{log}: one line gone", "records of the run", lambda copy: _lines(copy / log, lambda it: it.pop())
    )
    yield Manipulation(f"{log}: in another order", "records of the run", lambda copy: _lines(copy / log, list.reverse))
    yield Manipulation(f"{log}: one line twice", "records of the run", lambda copy: _lines(copy / log, _again))
    yield Manipulation(f"{log}: another text", "records of the run", partial(_reworded, log=log))
    yield Manipulation(f"{log}: emptied", "records of the run", lambda copy: (copy / log).write_bytes(b""))


def _anchor(said: dict[str, Any]) -> None:
    said["clock_anchors"][-1]["wall_ns"] += 10**9


def _more(counts: dict[str, int], key: str) -> None:
    counts[key] += 1


def _rename_camera(copy: Path) -> None:
    (copy / "a").rename(copy / "c")
    for name in ("session.json", "summary.json"):
        path = copy / name
        path.write_text(path.read_text().replace('"a"', '"c"').replace('"a/', '"c/'))


def _lines(path: Path, change: Callable[[list[bytes]], object]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def _again(lines: list[bytes]) -> None:
    lines.append(lines[0])


def _reworded(copy: Path, log: str) -> None:
    path = copy / log
    path.write_text(path.read_text().replace("ended", "went on", 1))


# Files as such.


def _of_files(session: Path) -> Iterator[Manipulation]:
    files = sorted(path.relative_to(session) for path in session.rglob("*") if path.is_file())
    files = [path for path in files if path.parts[0] != "b" and "manifest" not in path.name]
    for path in files:
        yield Manipulation(f"{path} deleted", "files", partial(_delete, path=path))
        if (session / path).stat().st_size:
            cut = partial(_truncate, path=path)
            yield Manipulation(f"{path} cut to its first half", "files", cut)
    yield Manipulation("a file added", "files", lambda copy: (copy / "notes.txt").write_text("a note"))
    yield Manipulation("a video added", "files", lambda copy: shutil.copy(copy / "a/video.mp4", copy / "a/video.mkv"))
    yield Manipulation("a camera's folder deleted", "files", lambda copy: shutil.rmtree(copy / "a"))
    yield Manipulation("a camera's folder added", "files", lambda copy: shutil.copytree(copy / "a", copy / "c"))
    yield Manipulation("cameras' folders exchanged", "files", _exchange_folders)
    yield Manipulation("touched", "harmless", _touch, harmless=True)
    yield Manipulation("times of files in the future", "harmless", partial(_touch, by_s=86_400 * 400), harmless=True)
    yield Manipulation("copied, and nothing else", "harmless", lambda _copy: None, harmless=True)
    yield Manipulation("read-only", "harmless", _read_only, harmless=True)


def _delete(copy: Path, path: Path) -> None:
    (copy / path).unlink()


def _truncate(copy: Path, path: Path) -> None:
    os.truncate(copy / path, (copy / path).stat().st_size // 2)


def _exchange_folders(copy: Path) -> None:
    (copy / "a").rename(copy / "c")
    (copy / "b").rename(copy / "a")
    (copy / "c").rename(copy / "b")


def _touch(copy: Path, by_s: float = 0.0) -> None:
    for path in copy.rglob("*"):
        status = path.stat()
        os.utime(path, (status.st_atime + by_s, status.st_mtime + by_s + 1))


def _read_only(copy: Path) -> None:
    for path in copy.rglob("*"):
        with contextlib.suppress(OSError):
            path.chmod(0o555 if path.is_dir() else 0o444)
