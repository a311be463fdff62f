"""Kills processes of a run at random moments and sees what is left: python benchmarks/kills.py MODEL [ROUNDS].

Each round runs the simulated arena at 100 frames a second with recording and inference, kills one process or several
with SIGKILL, recovers the session where its supervisor was among them, and verifies it. A program of its own
subscribes to the poses all the while and is the witness of what was published. A round is good where

- every frame that was exposed a second and more before the kill is in a playable video with its row (the simulated
  camera exposes by the clock, so their number is known without asking the tables);
- every pose that the witness had, published a second and more before the kill, is in `poses.csv`;
- `verify` finds nothing wrong with the session.

"Before" in the table is a second and more before the kill. The status is 1 where any round was not good. POSIX only.
The next round's network loads while the last one's session is recovered and verified.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from report import markdown

from posestream.stream.disk.writer_locks import writers
from posestream.stream.session.reconcile import INTERRUPTED
from posestream.stream.session.recover import recover_session
from posestream.stream.session.verify import verify_session
from posestream.stream.wire.clock import monotonic_ns

ROLES = ("camera", "inference", "poses", "supervisor")
SETS = [victims for number in range(1, 5) for victims in itertools.combinations(ROLES, number)]
MODULES = {"posestream.acquisition": "camera", "posestream.inference": "inference", "posestream.stream": "poses"}
RATE_HZ = 100
OLD_NS = 1_000_000_000
RIG = """
[recording]
container = "{container}"
[session]
name = "kill"
output = "out"
min_free_gib = 0.1
[cameras.top]
backend = "synthetic"
width = 160
height = 120
rate_hz = {rate}.0
buffers = 1000
[inference]
model = {model}
[network]
poses = "{poses}"
"""


def command(*arguments: str) -> list[str]:
    """Give the command line of this environment's posestream."""
    return [str(Path(sys.executable).with_name("posestream")), *arguments]


class Round:
    """One run, its kill, and what was left; it begins to load when it is made."""

    container = "mp4"
    old_ns = OLD_NS
    """Age from which nothing may be missing."""
    runs_s = (1.2, 3.2)
    """The least and the most seconds that it runs before the kill."""

    def __init__(self, model: Path, victims: tuple[str, ...], rng: random.Random, work: Path) -> None:
        self._work, self._victims, self._rng = work, victims, rng
        work.mkdir()
        poses = f"tcp://127.0.0.1:{rng.randrange(20_000, 30_000)}"
        rig = RIG.format(rate=RATE_HZ, model=json.dumps(str(model.absolute())), poses=poses, container=self.container)
        (work / "rig.toml").write_text(rig)
        with (work / "witness.jsonl").open("wb") as witnessed, (work / "run.log").open("wb") as log:
            self._run = subprocess.Popen(
                command("run", "rig.toml"), cwd=work, stdout=log, stderr=log, env=self.environment()
            )
            self._witness = subprocess.Popen(
                command("subscribe", poses, "--json"), cwd=work, stdout=witnessed, stderr=subprocess.DEVNULL
            )
        self._killed_ns = 0

    def environment(self) -> dict[str, str]:
        """Give the environment of the run."""
        return dict(os.environ)

    @property
    def began(self) -> bool:
        """Whether poses come."""
        if self._run.poll() is not None:
            raise SystemExit(f"the run ended before it began:\n{(self._work / 'run.log').read_text()}")
        return any(path.read_bytes().count(b"\n") > 1 for path in self._work.glob("out/*/top/poses.csv"))

    @property
    def over(self) -> bool:
        """Whether all its processes have ended, so that its session may be recovered."""
        return not any(writers(session) for session in (self._work / "out").iterdir())

    def kill(self) -> None:
        """Let it run for a while, kill, and wait until all its processes have ended."""
        time.sleep(self._rng.uniform(*self.runs_s))
        found = self._processes()
        apart_s = self._apart_s()
        self._killed_ns = monotonic_ns()
        for victim in self._rng.sample(self._victims, len(self._victims)):
            with contextlib.suppress(ProcessLookupError):  # the first kill may have ended it
                os.kill(found[victim], signal.SIGKILL)
            time.sleep(apart_s)
        self._run.wait(120)
        running = [psutil.Process(pid) for pid in found.values() if psutil.pid_exists(pid)]
        _, alive = psutil.wait_procs(running, timeout=30)
        assert not alive, f"{alive} did not end"
        self._witness.kill()
        self._witness.wait()

    def _apart_s(self) -> float:
        return self._rng.choice([0.0, self._rng.uniform(0.0, 0.5)])

    def _processes(self) -> dict[str, int]:
        children = psutil.Process(self._run.pid).children()
        return {"supervisor": self._run.pid} | {MODULES[child.cmdline()[2]]: child.pid for child in children}

    def end(self) -> None:
        """End whatever still runs."""
        for process in (self._run, self._witness):
            process.kill()
            process.wait()

    def check(self) -> dict[str, Any]:
        """Recover the session if need be, verify it, and hold it against what must be there."""
        [session] = (self._work / "out").iterdir()
        if json.loads((session / "session.json").read_text())["state"] == "recording":
            while not self.over:
                time.sleep(0.1)
            recover_session(session)
        problems = verify_session(session)["problems"]
        frames = pd.read_csv(session / "top" / "frames.csv")
        poses = pd.read_csv(session / "top" / "poses.csv")
        skipped = pd.read_csv(session / "top" / "skipped.csv")
        old_ns = self._killed_ns - self.old_ns
        first_ns = int(frames.loc[frames["seq"] == 0, "captured_ns"].iloc[0])
        exposed = max(0, -((first_ns - old_ns) * RATE_HZ // 10**9))
        recorded = frames[(frames["state"] == "recorded") & (frames["captured_ns"] < old_ns)]
        seen = [json.loads(line) for line in self._witnessed()]
        witnessed = {pose["frame_seq"] for pose in seen if pose["published_ns"] < old_ns}
        return {
            "killed": " + ".join(self._victims),
            "frames": len(frames),
            "recorded": int((frames["state"] == "recorded").sum()),
            "exposed before": exposed,
            "of them in the video": len(recorded),
            "poses witnessed before": len(witnessed),
            "of them in poses.csv": len(witnessed & set(poses["frame_seq"])),
            "frames interrupted": int((frames["state"] == "interrupted").sum()),
            "without a pose, interrupted": int(skipped.loc[skipped["cause"] == INTERRUPTED, "count"].sum()),
            "verify": "proved" if not problems else "; ".join(problems),
        }

    def _witnessed(self) -> list[str]:
        text = (self._work / "witness.jsonl").read_text()
        return [line for line in text[: text.rfind("\n") + 1].splitlines() if '"type": "pose"' in line]


def good(row: dict[str, Any]) -> bool:
    """Whether a round left all that it must leave, and there was something to leave."""
    return bool(
        row["verify"] == "proved"
        and row["exposed before"] == row["of them in the video"] > 0
        and row["poses witnessed before"] == row["of them in poses.csv"]
    )


def kill_rounds(
    model: Path, victims: list[tuple[str, ...]], seed: int, say: Any = print, kind: type[Round] = Round
) -> list[dict[str, Any]]:
    """Go through rounds, one for each set of victims."""
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        before: Round | None = None

        def check(last: Round) -> None:
            rows.append(last.check())
            say(json.dumps(rows[-1]))

        for number, killed in enumerate(victims):
            now = kind(model, killed, rng, Path(name) / str(number))
            try:
                while not now.began:
                    if before is not None and before.over:
                        check(before)
                        before = None
                    time.sleep(0.02)
                now.kill()
            finally:
                now.end()
            if before is not None:
                check(before)
            before = now
        if before is not None:
            check(before)
    return rows


def summed(rows: list[dict[str, Any]], by: str = "killed") -> list[dict[str, Any]]:
    """Add up the rounds of each set of victims, or of whatever else."""
    table = pd.DataFrame(rows)
    table["proved"] = table.pop("verify") == "proved"
    groups = table.groupby(by, sort=False)
    sums = groups.sum(numeric_only=True).astype(int)
    sums.insert(0, "rounds", groups.size())
    sums["proved"] = groups["proved"].sum()
    return [{by: what, **{str(name): n for name, n in row.items()}} for what, row in sums.to_dict("index").items()]


def report_rounds(rows: list[dict[str, Any]], by: str, seed: int, seconds: float, remark: str = "") -> int:
    """Print the table, how many rounds were good, and those that were not; gives the exit status."""
    print(markdown(summed(rows, by)))
    bad = [row for row in rows if not good(row)]
    print(f"\n{len(rows) - len(bad)} of {len(rows)} rounds good, seed {seed}, {seconds:.0f} s")
    if remark:
        print(remark)
    for row in bad:
        print(row)
    return 1 if bad else 0


def main() -> None:
    """Print a row for each set of victims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("rounds", type=int, nargs="?", default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.monotonic()
    # Each alone as often as any combination: the sets in turn, in an order of chance.
    order = random.Random(given.seed)  # noqa: S311
    victims = [victims for _ in range(0, given.rounds, len(SETS)) for victims in order.sample(SETS, len(SETS))]
    rows = kill_rounds(given.model, victims[: given.rounds], given.seed, lambda text: print(text, file=sys.stderr))
    sys.exit(report_rounds(rows, "killed", given.seed, time.monotonic() - began))


if __name__ == "__main__":
    main()
