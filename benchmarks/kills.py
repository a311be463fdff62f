"""Kills processes of a run at random moments and sees what is left: python benchmarks/kills.py MODEL [ROUNDS].

Each round runs the simulated arena at 100 frames a second with recording and inference, kills one process or several
with SIGKILL, recovers the session where its supervisor was among them, and verifies it. A round is good where every
frame that was captured a second and more before the kill is in a playable video and has its row, and `verify` proves
the session. The status is 1 where any round was not. POSIX only.
"""

import argparse
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

from posestream.stream.reconcile import INTERRUPTED
from posestream.stream.recover import QUIET_S, recover_session
from posestream.stream.verify import verify_session
from posestream.stream.wire.clock import monotonic_ns

VICTIMS = [
    ("camera",),
    ("inference",),
    ("poses",),
    ("supervisor",),
    ("camera", "inference"),
    ("supervisor", "camera"),
    ("supervisor", "camera", "inference", "poses"),
]
MODULES = {"posestream.acquisition": "camera", "posestream.inference": "inference", "posestream.stream": "poses"}
RIG = """
[session]
name = "kill"
output = "out"
min_free_gib = 0.1
[cameras.top]
backend = "synthetic"
width = 320
height = 240
rate_hz = 100.0
buffers = 1000
[inference]
model = "{model}"
[network]
poses = "tcp://127.0.0.1:{port}"
"""


def processes(supervisor: int) -> dict[str, int]:
    """Process ids of a run, by role."""
    children = psutil.Process(supervisor).children()
    return {"supervisor": supervisor} | {MODULES[child.cmdline()[2]]: child.pid for child in children}


def one_round(model: Path, victims: tuple[str, ...], rng: random.Random) -> dict[str, Any]:
    """Run, kill, recover, verify."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "rig.toml").write_text(RIG.format(model=model.absolute(), port=rng.randrange(20_000, 60_000)))
        command = [str(Path(sys.executable).with_name("posestream")), "run", "rig.toml"]
        run = subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list(work.glob("out/*/top/poses.csv")):
            time.sleep(0.02)
            if run.poll() is not None:
                raise SystemExit("the run ended before it began")
        time.sleep(rng.uniform(0.5, 5))
        found = processes(run.pid)
        killed_ns = monotonic_ns()
        for victim in victims:
            os.kill(found[victim], signal.SIGKILL)
        run.wait()
        psutil.wait_procs([psutil.Process(pid) for pid in found.values() if psutil.pid_exists(pid)], timeout=30)
        [session] = (work / "out").iterdir()
        state = json.loads((session / "session.json").read_text())["state"]
        if state == "recording":
            time.sleep(QUIET_S + 0.5)
            recover_session(session)
        problems = verify_session(session)["problems"]
        frames = pd.read_csv(session / "top" / "frames.csv")
        skipped = pd.read_csv(session / "top" / "skipped.csv")
        old = frames[frames["captured_ns"] < killed_ns - 1_000_000_000]
        return {
            "killed": " + ".join(victims),
            "frames": len(frames),
            "recorded": int((frames["state"] == "recorded").sum()),
            "older than 1 s and not recorded": int((old["state"] != "recorded").sum()),
            "interrupted": int((frames["state"] == "interrupted").sum()),
            "no word but interrupted": int(skipped.loc[skipped["cause"] == INTERRUPTED, "count"].sum()),
            "verify": "proved" if not problems else "; ".join(problems),
        }


def main() -> None:
    """Print a row for each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("rounds", type=int, nargs="?", default=7)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, rows = random.Random(given.seed), []  # noqa: S311 - moments, not secrets
    for number in range(given.rounds):
        rows.append(one_round(given.model, VICTIMS[number % len(VICTIMS)], rng))
        print(json.dumps(rows[-1]), flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    good = (table["verify"] == "proved") & (table["older than 1 s and not recorded"] == 0)
    print(f"{int(good.sum())} of {len(table)} rounds good")
    sys.exit(0 if good.all() else 1)


main()
