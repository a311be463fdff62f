"""Imitates power failures and sees what is left: python benchmarks/power.py MODEL [ROUNDS].

Each round is one of `kills.py` in which all processes are killed at once. Then each file loses, independently of the
others, what it need not have on the disk: whatever was written since its last `fsync` had begun. A hook in each
process writes down how long each file was then, and which names a folder had when it was synced; nothing is assumed of
how often that is. A file whose name was not synced may be gone. Else, by chance,

- it ends somewhere between its length at that sync and its last one;
- or it has its last length, and is zeros from somewhere in between on;
- or some of its pages behind that sync are zeros, as where a file system made room and never wrote.

A round is good where every frame that was exposed two seconds and more before is in a playable video with its row,
every pose that the witness had by then is in `poses.csv`, and `verify` proves the session after `recover`. The status
is 1 where any was not. Linux and macOS only.
"""

import argparse
import itertools
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from kills import ROLES, Round, kill_rounds, report_rounds

PAGE_BYTES = 4096
HOOK = """
import json, os, stat, time
_fsync = os.fsync

def fsync(file):
    number = file if isinstance(file, int) else file.fileno()
    before = os.fstat(number)
    names = os.listdir(number) if stat.S_ISDIR(before.st_mode) else None
    began = time.monotonic()
    _fsync(number)
    line = json.dumps([before.st_ino, before.st_size, names, began, time.monotonic()]) + "\\n"
    with open(os.environ["POSESTREAM_SYNCS"], "ab", buffering=0) as log:
        log.write(line.encode())

os.fsync = fsync
"""


class PowerFailure(Round):
    """A run that ends by a power failure."""

    old_ns = 2_000_000_000
    runs_s = (3.0, 6.0)

    def environment(self) -> dict[str, str]:
        """Give the environment of the run, with the hook."""
        hooks = self._work / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(HOOK)
        paths = filter(None, (str(hooks), os.environ.get("PYTHONPATH")))
        return os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "POSESTREAM_SYNCS": str(self._work / "syncs.jsonl"),
        }

    def _apart_s(self) -> float:
        return 0.0

    def kill(self) -> None:
        """Kill all at once, and take from the files what was not on the disk."""
        super().kill()
        [session] = (self._work / "out").iterdir()
        self._log = _SyncLog(self._work / "syncs.jsonl")
        assert session.name in self._log.names(session.parent), "the name of the session folder was never synced"
        self._taken_bytes = _tear(session, self._log, self._rng)

    def check(self) -> dict[str, Any]:
        """Recover the session, verify it, and hold it against what must be there."""
        [video] = (self._work / "out").glob("*/top/video.*")
        apart_s = self._log.apart_s(video)
        row = super().check()
        del row["killed"]
        about = {"container": self.container, "bytes lost": self._taken_bytes}
        return about | row | {"ms without a sync": round(apart_s * 1e3)}


class PowerFailureMkv(PowerFailure):
    """The same, recorded in Matroska."""

    container = "mkv"


class _SyncLog:
    """What was on the disk when everything stopped, as the hook saw it."""

    def __init__(self, path: Path) -> None:
        self._sizes: dict[int, int] = {}
        self._names: dict[int, set[str]] = {}
        self._ended_s: dict[int, list[float]] = {}
        for line in path.read_text().splitlines():
            try:
                inode, size, names, _began, ended = json.loads(line)
            except ValueError:  # cut off by the kill
                continue
            self._sizes[inode] = size
            self._names.setdefault(inode, set()).update(names or ())  # lines of two processes may come in any order
            self._ended_s.setdefault(inode, []).append(ended)

    def size(self, file: Path) -> int:
        return min(self._sizes.get(file.stat().st_ino, 0), file.stat().st_size)

    def names(self, folder: Path) -> set[str]:
        return self._names.get(folder.stat().st_ino, set())

    def apart_s(self, file: Path) -> float:
        """Give the longest time between two syncs."""
        ended = self._ended_s.get(file.stat().st_ino, [])
        return max((b - a for a, b in itertools.pairwise(ended)), default=0.0)


def _tear(session: Path, log: _SyncLog, rng: random.Random) -> int:
    """Take from each file what it need not have; gives the bytes that are gone or zeros."""
    taken = 0
    for path in sorted(session.rglob("*"), reverse=True):
        named = path.name in log.names(path.parent)
        if not named and rng.random() < 0.5:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.is_file():
            taken += _tear_file(path, log.size(path), rng) if path.name != "reserve" else 0
    for path in (session, *session.rglob("*")):
        os.utime(path, (time.time() - 60,) * 2)  # the power was off for a minute
    return taken


def _tear_file(path: Path, synced: int, rng: random.Random) -> int:
    data = bytearray(path.read_bytes())
    before = bytes(data)
    at = rng.randint(synced, len(data))
    match rng.choice(["shorter", "zeros", "holes"]):
        case "shorter":
            del data[at:]
        case "zeros":
            data[at:] = bytes(len(data) - at)
        case "holes":
            for page in range(-(-synced // PAGE_BYTES), -(-len(data) // PAGE_BYTES)):
                if rng.random() < 0.3:
                    place = slice(page * PAGE_BYTES, min(len(data), (page + 1) * PAGE_BYTES))
                    data[place] = bytes(place.stop - place.start)
    path.write_bytes(data)
    return len(before) - len(data) + sum(a != b for a, b in zip(before, data, strict=False))


def main() -> None:
    """Print a row for each container."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("rounds", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began, rows = time.monotonic(), []
    for kind, rounds in ((PowerFailure, (given.rounds + 1) // 2), (PowerFailureMkv, given.rounds // 2)):
        rows += kill_rounds(
            given.model, [ROLES] * rounds, given.seed, lambda text: print(text, file=sys.stderr), kind=kind
        )
    longest_ms = max(row.pop("ms without a sync") for row in rows)
    remark = f"the longest time between two syncs of a video: {longest_ms} ms"
    sys.exit(report_rounds(rows, "container", given.seed, time.monotonic() - began, remark))


if __name__ == "__main__":
    main()
