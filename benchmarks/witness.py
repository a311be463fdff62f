"""Kills runs whose cameras witness for themselves: python benchmarks/witness.py [--trials 200].

The cameras paint each frame's number into its pixels and log what they deliver (`numbered_camera.py`). Each trial runs
a rig of `witness_cases.py` with `posestream run`, ends it, or kills a process of it at a random moment, recording or
closing, then runs `recover` after a kill, and `verify`. The session is judged by the logs and by
what is read from the decoded pictures (`witness_judge.py`, which shares no code with posestream):

- every delivered frame has a row, but for the one in flight when its camera's process was killed;
- every row says what is true of its frame, and points at its picture;
- causes add up, and what `verify` says was lost is what was lost;
- `verify` proves nothing less, and refutes nothing that is sound.

A fault of any kind makes the status 1. `--out FILE` keeps a line for each trial and goes on where it was cut off.
POSIX only.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from manipulations import free_port
from report import markdown
from witness_cases import CASES, Case, rig_text
from witness_judge import Truth, counts_add_up, judge_camera, lost_as_said, read_json, read_log

HERE = Path(__file__).parent
PLUGIN = ("numbered_camera.py", "numbered_camera.toml")
BY_ITSELF = {"itself": signal.SIGINT, "hangup": signal.SIGHUP}
"""Ends that are no kill, and their signal."""
AROUND = {"alive", "end", "exit", "recover"}
"""Kinds of faults that say nothing against the session itself."""
ENDS_S = 180.0
"""Seconds after which a run that was told to end, or whose processes were killed, must be over."""


def install(folder: Path) -> dict[str, str]:
    """Install the cameras' plug-in with pip, as a lab does; gives the environment in which it is there."""
    source, target = folder / "plugin", folder / "site"
    source.mkdir(parents=True)
    for name in PLUGIN:
        shutil.copy(HERE / name, source / name.replace("numbered_camera.toml", "pyproject.toml"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(source)], check=True)
    paths = [str(target), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


class Trial:
    """One run of a case and how it ended.

    Parameters
    ----------
    case
        What is run.
    end
        How it ends.
    seed
        Of its moments.
    folder
        A new folder for it.
    environment
        One in which the cameras are installed.
    """

    def __init__(self, case: Case, end: str, seed: int, folder: Path, environment: dict[str, str]) -> None:
        self.case, self.end, self.folder = case, end, folder
        self._rng = random.Random(seed)  # noqa: S311 - moments, not secrets
        self._environment = environment
        self._faults: list[tuple[str, str]] = []
        self._killed: set[str] = set()
        self._recovered = False
        self._found: dict[str, int] = {}
        self._run: subprocess.Popen[bytes] | None = None

    def go(self) -> dict[str, Any]:
        """Run, end, recover, verify, judge; gives a row."""
        self.folder.mkdir(parents=True)
        port = free_port()
        (self.folder / "rig.toml").write_text(rig_text(self.case, f"tcp://127.0.0.1:{port}"))
        began = time.monotonic()
        with (self.folder / "run.log").open("wb") as log:
            self._run = subprocess.Popen(
                self._command("run", "rig.toml"), cwd=self.folder, stdout=log, stderr=log, env=self._environment
            )
        try:
            self._until_filming(self._run)
            self._found = self._processes(self._run)
            status = self._ended(self._run)
        finally:
            self._stop_all()
        row = self._judge(status)
        return row | {"seconds": round(time.monotonic() - began, 1)}

    def _command(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("posestream")), *arguments]

    def _until_filming(self, run: "subprocess.Popen[bytes]") -> None:
        """Wait until every camera delivers, and poses come where there are to be any."""
        deadline = time.monotonic() + 120
        logs = [self.folder / f"{name}.log" for name in self.case.names]
        while not all(log.exists() and b"D " in log.read_bytes() for log in logs):
            if run.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the run did not begin:\n{(self.folder / 'run.log').read_text()[-3000:]}")
            time.sleep(0.02)

    def _processes(self, run: "subprocess.Popen[bytes]") -> dict[str, int]:
        """Process ids by role, cameras by name."""
        found = {"supervisor": run.pid}
        for child in psutil.Process(run.pid).children():
            line = child.cmdline()
            module = line[line.index("-m") + 1] if "-m" in line else ""
            name = line[line.index("--name") + 1] if "--name" in line else ""
            kinds = {"posestream.acquisition": f"camera {name}", "posestream.inference": "inference"}
            found[next((role for start, role in kinds.items() if module.startswith(start)), "poses")] = child.pid
        return found

    def _ended(self, run: "subprocess.Popen[bytes]") -> int:
        """Let it film, end it as the case wants, and wait until all its processes are over; gives its status."""
        rng, (least, most) = self._rng, self.case.runs_s
        if quiet := [camera["quiet_s"] for camera in self.case.cameras if "quiet_at" in camera]:
            self._touch_while_alive(run, max(quiet) - 6.0)
        time.sleep(rng.uniform(least, most))
        closing, victims = self.end.startswith("closing"), self.end.removeprefix("closing: ")
        if victims in BY_ITSELF or closing:
            run.send_signal(BY_ITSELF.get(victims, signal.SIGINT))
        if victims not in BY_ITSELF:
            if closing:
                time.sleep(rng.choice([rng.uniform(0, 0.3), rng.uniform(0, 1.5)]))
            self._kill(victims, apart_s=rng.choice([0.0, 0.0, rng.uniform(0, 0.3)]))
        try:
            run.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self._fault("end", f"the run did not end within {ENDS_S:g} s")
        left = [psutil.Process(pid) for pid in self._found.values() if psutil.pid_exists(pid)]
        _, alive = psutil.wait_procs(left, timeout=ENDS_S)
        if alive:
            self._fault("end", f"{len(alive)} processes did not end")
        return run.returncode if run.returncode is not None else -1

    def _kill(self, victims: str, apart_s: float) -> None:
        if victims in {"all", "all, then recover"}:
            roles = list(self._found)
        else:
            kinds = victims.split(" + ")
            roles = [role for role in self._found if role.partition(" ")[0] in kinds]
            if victims == "camera":
                roles = [self._rng.choice(roles)]
        for role in self._rng.sample(roles, len(roles)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._found[role], signal.SIGKILL)
                self._killed.add(role)
            time.sleep(apart_s)

    def _touch_while_alive(self, run: "subprocess.Popen[bytes]", after_s: float) -> None:
        """While the camera waits for its trigger, `recover` must do nothing, and say that it is being recorded."""
        time.sleep(after_s)
        session = self._session()
        before = {path: path.stat().st_ino for path in session.rglob("*") if path.is_file()}
        for command in ("recover", "verify"):
            tried = self._posestream(command, str(session))
            text = (tried.stdout + tried.stderr)[-300:]
            if tried.returncode == 0:
                self._fault("alive", f"{command} took a session that is being recorded: {text}")
            elif "being recorded" not in text:
                self._fault("alive", f"{command} does not say that the session is being recorded: {text}")
        after = {path: path.stat().st_ino for path in before if path.exists()}
        if after != before:
            self._fault("alive", "files of a session that is being recorded were replaced")
        assert run.poll() is None, "the run ended while its camera waited"

    def _stop_all(self) -> None:
        for pid in self._found.values():
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        if self._run is not None:
            self._run.kill()
            self._run.wait()

    def _posestream(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._command(*arguments),
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=300,
        )

    def _session(self) -> Path:
        [session] = (self.folder / "out").iterdir()
        return session

    def _fault(self, kind: str, text: str) -> None:
        self._faults.append((kind, text))

    def _judge(self, status: int) -> dict[str, Any]:
        session = self._session()
        if self._killed or read_json(session / "session.json").get("state") == "recording":
            self._recover(session)
        verified = self._posestream("verify", "--json", str(session))
        try:
            said: dict[str, Any] = json.loads(verified.stdout)
        except ValueError:
            said = {"problems": [f"verify failed: {verified.stderr[-300:]}"], "cameras": {}}
            self._fault("verify", f"no JSON: {verified.stdout[-200:]} {verified.stderr[-300:]}")
        truths: dict[str, Truth] = {}
        summary = read_json(session / "summary.json")
        for number, name in enumerate(self.case.names):
            truth = truths[name] = judge_camera(
                session / name,
                read_log(self.folder / f"{name}.log"),
                number,
                in_flight=int(f"camera {name}" in self._killed),
                clock_back=self.case.clock_back,
            )
            truth.faults += counts_add_up(summary, name, truth)
            truth.faults += lost_as_said(said, name, truth)
            self._faults += [(kind, f"{name}: {text}") for kind, text in truth.faults]
        self._judge_words(said, verified.returncode, status)
        return self._row(truths, said)

    def _recover(self, session: Path) -> None:
        if self.end.endswith("recover"):  # killed as well, and run again
            cut = subprocess.Popen(
                self._command("recover", str(session)),
                env=self._environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                cut.wait(self._rng.uniform(0.3, 2.0))
            cut.kill()
            cut.wait()
        deadline = time.monotonic() + 20
        while (tried := self._posestream("recover", str(session))).returncode == 2 and time.monotonic() < deadline:
            time.sleep(0.5)
        # Where a `recover` was killed before, it may have been done.
        self._recovered = "nothing to do" not in tried.stdout or "recover" in self.end
        if tried.returncode:
            self._fault("recover", f"status {tried.returncode}: {tried.stdout[-200:]} {tried.stderr[-500:]}")

    def _judge_words(self, said: dict[str, Any], verified: int, status: int) -> None:
        """See that `verify` and `run` say what is so."""
        proved = bool(said.get("proved", not said["problems"]))
        if proved != (verified == 0):
            self._fault("verify", f"status {verified}, and proved is {proved}")
        wrong = [text for kind, text in self._faults if kind not in AROUND]
        if proved and wrong:
            self._fault("false proof", f"verify proves what is not so: {wrong[0]}")
        # What `recover` closed can be sound, and still nothing shows how it was before.
        reasons = said["problems"] or ([] if self._recovered else said.get("not_provable", ["no word why"]))
        if not proved and reasons and not wrong:
            self._fault("false alarm", f"verify does not prove what is so: {'; '.join(map(str, reasons))[:400]}")
        sound = self.end in BY_ITSELF and self.case.sound
        if sound and status != 0:
            self._fault("exit", f"run ended with {status}, and nothing was lost")
        if self._killed and "supervisor" not in self._killed and status == 0 and not self.end.startswith("closing"):
            self._fault("exit", "run ended with 0, and a process had been killed")

    def _row(self, truths: dict[str, Truth], said: dict[str, Any]) -> dict[str, Any]:
        every = list(truths.values())
        return {
            "case": self.case.name,
            "end": self.end,
            "delivered": sum(truth.delivered for truth in every),
            "rows": sum(truth.rows for truth in every),
            "in the video": sum(truth.pictures for truth in every),
            "lost, known": sum(truth.rows - truth.recorded for truth in every),
            "longest gap s": round(max(truth.gap_s for truth in every), 2),
            "verify": "proved"
            if said.get("proved", not said["problems"])
            else "refuted"
            if said["problems"]
            else "sound",
            "faults": self._faults,
        }


def plan(trials: int, seed: int) -> list[tuple[Case, str, int]]:
    """Give cases and ends in an order of chance, each pair as often as any other."""
    rng = random.Random(seed)  # noqa: S311
    pairs = [(case, end) for case in CASES for end in case.ends]
    rounds = [pair for _ in range(0, trials, len(pairs)) for pair in rng.sample(pairs, len(pairs))]
    return [(case, end, rng.randrange(2**31)) for case, end in rounds[:trials]]


def run_trials(
    planned: list[tuple[Case, str, int]], work: Path, *, jobs: int = 1, out: Path | None = None, keep: bool = False
) -> list[dict[str, Any]]:
    """Run trials, but for those that a file of results has; folders of those without a fault are removed."""
    done = {row["trial"]: row for row in _lines(out)} if out is not None and out.exists() else {}
    environment = install(work)

    def one(number: int) -> dict[str, Any]:
        case, end, seed = planned[number]
        trial = Trial(case, end, seed, work / str(number), environment)
        try:
            row = {"trial": number, **trial.go()}
        except Exception as error:  # noqa: BLE001 - a trial that could not be judged is a row, and bad
            row = {"trial": number, "case": case.name, "end": end, "faults": [("harness", repr(error))]}
        if out is not None:
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
        print(json.dumps(row), file=sys.stderr, flush=True)
        if not row["faults"] and not keep:
            shutil.rmtree(work / str(number), ignore_errors=True)
        return row

    with ThreadPoolExecutor(jobs) as pool:
        rows = list(pool.map(one, [number for number in range(len(planned)) if number not in done]))
    return sorted([*done.values(), *rows], key=lambda row: row["trial"])


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """Keep cores busy with so many processes."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def summed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add up the trials of each case."""
    table = []
    for name in dict.fromkeys(row["case"] for row in rows):
        own = [row for row in rows if row["case"] == name]
        sums = {
            key: sum(row.get(key, 0) for row in own) for key in ("delivered", "rows", "in the video", "lost, known")
        }
        table.append(
            {"case": name, "trials": len(own), "killed": sum(row["end"] not in BY_ITSELF for row in own)}
            | sums
            | {"longest gap s": max(row.get("longest gap s", 0) for row in own)}
            | {word: sum(row.get("verify") == word for row in own) for word in ("proved", "sound", "refuted")}
            | {"bad": sum(bool(row["faults"]) for row in own)}
        )
    return table


def report(rows: list[dict[str, Any]], seed: int, seconds: float) -> int:
    """Print the table and the faults; gives the exit status."""
    print(markdown(summed(rows)))
    bad = [row for row in rows if row["faults"]]
    print(f"\n{len(rows) - len(bad)} of {len(rows)} trials without a fault, seed {seed}, {seconds:.0f} s")
    kinds = Counter(kind for row in bad for kind in dict(row["faults"]))
    for kind, number in kinds.most_common():
        print(f"- {kind}: {number} trials")
    for row in bad:
        print(
            f"trial {row['trial']}, {row['case']}, {row['end']}: {'; '.join(text for _, text in row['faults'])[:600]}"
        )
    return 1 if bad else 0


def main() -> None:
    """Print a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of trials to repeat alone")
    parser.add_argument("--case", help="trials of the cases alone whose names hold this")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--load", type=int, default=0, help="processes that keep cores busy meanwhile")
    parser.add_argument("--quick", action="store_true", help="each case once, its end by chance")
    parser.add_argument("--out", type=Path, help="file of results, a JSON object a line; what it has is not run again")
    parser.add_argument("--work", type=Path, help="folder to work in and to keep the sessions of bad trials in")
    given = parser.parse_args()
    # A job in the background of a shell ignores Ctrl-C, and one under nohup a hangup; what it starts would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    planned = plan(given.trials, given.seed)
    if given.quick:
        rng = random.Random(given.seed)  # noqa: S311
        planned = [(case, rng.choice(case.ends), rng.randrange(2**31)) for case in CASES]
    if given.case:
        planned = [trial for trial in planned if given.case in trial[0].name]
    if given.only:
        planned = [planned[number] for number in given.only]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        work = given.work or Path(name)
        if given.work:
            work.mkdir(exist_ok=True)
            work = Path(tempfile.mkdtemp(dir=work))
        with busy(given.load):
            rows = run_trials(planned, work, jobs=given.jobs, out=given.out)
    sys.exit(report(rows, given.seed, time.monotonic() - began))


if __name__ == "__main__":
    main()
