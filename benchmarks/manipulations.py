"""Manipulates a closed session in every way that `forgeries.py` knows, and sees that `verify` notices each.

`python benchmarks/manipulations.py` records two sessions with `posestream run` (two simulated cameras at 640x480,
poses, skipped frames, backfilled ones), and gives `posestream verify` a fresh copy for each manipulation: as it is, and
without the manifest and the word of it in `session.json`, as a forger leaves it who knows what they are for. A
manipulation is noticed where the status is 1 or 2 and nothing is called proved. What changes no content (times of
files, another folder) must stay proved while the manifest is there. The status is 1 where anything went otherwise.
"""

import argparse
import contextlib
import io
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from forged import edit_json
from forgeries import Manipulation, manipulations
from report import markdown

from posestream.stream.cli import main as posestream

RIG = """
[session]
name = "{name}"
output = "out"
seconds = {seconds}
min_free_gib = 0.1
[cameras.a]
backend = "synthetic"
width = {width}
height = {height}
rate_hz = {rate}
seed = {seed}
[cameras.b]
backend = "synthetic"
width = {width}
height = {height}
rate_hz = {rate}
seed = {other}
[inference]
model = "openfield-mouse"
backfill = {backfill}
[inference.window]
sides = [192]
[network]
poses = "tcp://127.0.0.1:{port}"
"""
BY_MANIFEST, BY_CONTENT = "with the manifest", "without"


def record(
    work: Path,
    name: str,
    *,
    seed: int = 0,
    seconds: float = 3.0,
    backfill: bool = True,
    size: tuple[int, int] = (640, 480),
    rate: float = 8.0,
) -> Path:
    """Record a session with two cameras and poses; gives its folder."""
    fields: dict[str, Any] = {"name": name, "seconds": seconds, "rate": rate, "seed": seed, "other": seed + 1}
    fields |= {"width": size[0], "height": size[1], "port": free_port()}
    rig = work / f"{name}.toml"
    rig.write_text(RIG.format(backfill=str(backfill).lower(), **fields))
    command = [str(Path(sys.executable).with_name("posestream")), "run", rig.name]
    ended = subprocess.run(command, cwd=work, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"the run ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    [session] = (work / "out").glob(f"*_{name}")
    return session


def free_port() -> int:
    """Give a port of this machine below those that systems hand out to connections."""
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def verify(session: Path) -> tuple[int, dict[str, Any]]:
    """Run `posestream verify --json` in this process; gives its status and what it printed."""
    said = io.StringIO()
    status = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        try:
            posestream(["verify", "--json", str(session)], standalone_mode=False)
        except SystemExit as ended:
            status = int(ended.code or 0)
    try:
        found = json.loads(said.getvalue())
    except ValueError:
        found = {}
    return status, found if isinstance(found, dict) else {}


def manifests(session: Path) -> list[Path]:
    """Give the files of a session that are a manifest."""
    return sorted(session.rglob("*manifest*"))


def try_one(session: Path, made: Manipulation, folder: Path, *, keep_manifest: bool) -> dict[str, Any]:
    """Apply a manipulation to a fresh copy and verify it; gives a row."""
    copy = folder / session.name
    shutil.copytree(session, copy)
    try:
        made.change(copy)
        if not keep_manifest:
            for path in manifests(copy):
                path.unlink()
            with contextlib.suppress(OSError, ValueError):  # deleted or cut by the manipulation
                edit_json(copy / "session.json", lambda said: said.pop("manifest", None))
        try:
            status, said = verify(copy)
        except Exception as error:  # noqa: BLE001 - a verify that breaks has not noticed anything
            status, said = -1, {"problems": [f"verify broke: {error!r}"], "proved": False}
    finally:
        for path in folder.rglob("*"):  # what a manipulation left read-only
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)
        folder.mkdir()
    proved = bool(said.get("proved", status == 0))
    refuted = bool(said.get("problems")) or status == 2
    good = (status == 0 and proved) if made.harmless else (status in {1, 2} and not proved)
    return {
        "name": made.name,
        "kind": made.kind,
        "manifest": BY_MANIFEST if keep_manifest else BY_CONTENT,
        "status": status,
        "proved": proved,
        "refuted": refuted,
        "good": good,
        "said": [str(problem) for problem in said.get("problems", [])][:2],
    }


def try_all(
    session: Path, other: Path, folder: Path, chosen: Callable[[list[Manipulation]], Iterable[Manipulation]] = list
) -> list[dict[str, Any]]:
    """Try manipulations, each with the manifest and without; gives a row for each."""
    status, said = verify(session)
    if status:
        raise RuntimeError(f"the session is not proved before anything was done to it: {said}")
    with_manifest = bool(manifests(session))
    folder.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for made in chosen(manipulations(session, other)):
        if with_manifest:
            rows.append(try_one(session, made, folder, keep_manifest=True))
        if not made.harmless or not with_manifest:
            rows.append(try_one(session, made, folder, keep_manifest=False))
    return rows


def summed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add up the manipulations of each kind."""
    table = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        line: dict[str, Any] = {"what": kind, "manipulations": len({row["name"] for row in own})}
        for manifest in (BY_MANIFEST, BY_CONTENT):
            some = [row for row in own if row["manifest"] == manifest]
            word = "still proved" if kind == "harmless" else "noticed"
            line[f"{manifest}: as it should be"] = f"{sum(row['good'] for row in some)} {word}" if some else "-"
            line[f"{manifest}: problem named"] = sum(row["refuted"] for row in some) if some else "-"
        table.append(line)
    return table


def main() -> None:
    """Print a row for each kind, and what went unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="manipulations alone whose names hold this")
    parser.add_argument("--work", type=Path, help="folder of the sessions, which are recorded where it has none")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        work = given.work or Path(name)
        work.mkdir(exist_ok=True)
        sessions = []
        for number, title in enumerate(("session", "another")):
            found = sorted(work.glob(f"out/*_{title}"))
            sessions.append(found[0] if found else record(work, title, seed=10 * number, backfill=not number))
        only = given.only or ""
        session, other = sessions
        rows = try_all(session, other, Path(name) / "copy", lambda made: [one for one in made if only in one.name])
    print(markdown(summed(rows)))
    bad = [row for row in rows if not row["good"]]
    number = len({row["name"] for row in rows if row["kind"] != "harmless"})
    seconds = time.monotonic() - began
    print(f"\n{number} manipulations, {len(rows)} sessions, {len(bad)} not as it should be, {seconds:.0f} s")
    for row in bad:
        said = "; ".join(row["said"])[:300]
        print(f"{row['manifest']}: {row['name']}: status {row['status']}, proved {row['proved']} {said}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
