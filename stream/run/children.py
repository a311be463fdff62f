"""The processes of a run as the supervisor sees them: started here, or joining from another machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec

from posestream.stream.run.roles import RoleRow, row_of
from posestream.stream.wire.control import Armed, ControlServer, Failed, Finished, Join, Report, Status
from posestream.stream.wire.counters import ProcessCounters

__all__ = ["Child", "State", "TurnedAway", "refusal", "turned_away"]

State = Literal["starting", "joined", "configured", "armed", "running", "finished", "failed", "died"]
LOG_TAIL_LINES = 15
REMOTE_SILENCE_S = 10.0
"""Seconds without a word after which a process on another machine counts as dead."""


class Child:
    """One process.

    Parameters
    ----------
    role
        What it is called on the wire: `camera:top`, `inference`.
    remote
        Whether somebody starts it by hand on another machine.
    row
        Its row in the table of roles; none: the one of its name.
    plugin
        Whose code may be at fault where it ends, or hangs, without a word: `its backend "x"`.
    """

    def __init__(self, role: str, *, remote: bool, row: RoleRow | None = None, plugin: str = "") -> None:
        self.role, self.remote, self.plugin = role, remote, plugin
        self.row = row if row is not None else row_of(role)
        self.state: State = "starting"
        self.identity: bytes | None = None
        """Address of its control connection."""
        self.armed: Armed | None = None
        self.failure: Failed | None = None
        """What it said when it failed."""
        self.counters: ProcessCounters | None = None
        """Its last counters and readings, as its row has them; none before the first."""
        self.death = ""
        """How it died, where it did so without a word."""
        self.heard_s = time.monotonic()
        """When it was last heard."""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    @property
    def title(self) -> str:
        """What people call it."""
        return self.row.title.format(name=self.name)

    @property
    def name(self) -> str:
        """Its own name, of a role of which a run may have several."""
        return self.role.partition(":")[2]

    @property
    def trouble(self) -> str:
        """What went wrong with it, and whose fault it is; empty where nothing did."""
        text = self.failure.text if self.failure is not None else self.death if self.state == "died" else ""
        return text if not text or text.startswith(self.title) else f"{self.title}: {text}"

    @property
    def over(self) -> bool:
        """Whether nothing more will come from it."""
        return self.state in {"finished", "failed", "died"}

    def start(self, control: str, keys: Path | None, logs: Path) -> None:
        """Start the process, unless it is remote. A new process, never a fork: ZeroMQ's contexts don't survive one."""
        if self.remote:
            return
        command = [sys.executable, "-m", self.row.module, "--control", control]
        if self.name:
            command += ["--name", self.name]
        if keys is not None:
            command += ["--keys", str(keys)]
        self._log = logs / f"{self.role.replace(':', '-')}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the supervisor, which ends the others in order.
                start_new_session=sys.platform != "win32",
                # Without our console, so that closing its window is for the supervisor, too.
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
                | getattr(subprocess, "CREATE_NO_WINDOW", 0),
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )

    @property
    def pid(self) -> int | None:
        """Process id, of a process that was started here."""
        return self._process.pid if self._process is not None else None

    def take(self, identity: bytes, report: Report) -> None:
        """Take in what it reported.

        Raises
        ------
        msgspec.DecodeError
            Where its counters are not those of its role; all else was taken in.
        """
        self.heard_s = time.monotonic()
        match report:
            case Join() if self.state == "starting":
                self.identity, self.state = identity, "joined"
            case Armed():
                self.armed, self.state = report, "armed"
            case Finished():
                self.state = "failed" if self.failure is not None else "finished"
            case Failed():
                self.failure = report
                if self.armed is None:
                    self.state = "failed"
        if isinstance(report, Status | Finished | Failed) and report.counters:
            self.counters = msgspec.msgpack.decode(report.counters, type=self.row.counters)

    def look(self) -> None:
        """See whether the process is still there."""
        if self.over:
            return
        if self._process is not None:
            status = self._process.poll()
            # Its last words may still be on their way when it has ended by itself.
            if status is not None and (status != 0 or time.monotonic() - self.heard_s > 1.0) and self._silent(0.5):
                self._die(self._how(status))
        elif self.state == "running" and self._silent(REMOTE_SILENCE_S):
            self._die(f"was not heard for {REMOTE_SILENCE_S:g} s")

    def _how(self, status: int) -> str:
        if status < 0:
            try:
                return f"was killed ({signal.Signals(-status).name})"
            except ValueError:
                return f"was killed (signal {-status})"
        suspect = f"; {self.plugin} or a library must have ended it" if self.plugin else ""
        return f"exited with status {status} before it had closed its files{suspect}"

    def _silent(self, seconds: float) -> bool:
        return time.monotonic() - self.heard_s > seconds

    def _die(self, how: str) -> None:
        self.death = how
        self.state = "failed" if self.failure is not None else "died"

    @property
    def place(self) -> str:
        """Where it broke, for developers: the traceback, or else the last lines that it printed."""
        if self.failure is not None and self.failure.traceback:
            return self.failure.traceback
        return "\n".join(self._printed().splitlines()[-LOG_TAIL_LINES:])

    @property
    def log_name(self) -> str:
        """Name of the file that `keep_log` writes; empty where it would write none."""
        return f"{self.role.replace(':', '-')}.log" if self._printed() or self.place else ""

    def _printed(self) -> str:
        if self._log is None or not self._log.exists():
            return ""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def keep_log(self, folder: Path) -> None:
        """Write to a folder what it printed, or of one on another machine where it broke, if there is anything."""
        if name := self.log_name:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(self._printed() or self.place, encoding="utf-8")

    def end(self, timeout_s: float) -> None:
        """Wait for the process to end; kill it where it does not."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def refusal(children: Sequence[Child], join: Join) -> str:
    """Say why a process that wants to join can't; empty where it may wait, or can."""
    if join.version != version("posestream"):
        return (
            f"this run is of posestream {version('posestream')}, {join.host} has {join.version}; "
            "install the same on both machines"
        )
    child = next((child for child in children if child.role == join.role), None)
    if child is not None and child.remote:
        return ""
    if child is not None:
        return f"the run starts {child.title} itself; set remote = true in its table of the rig"
    taken = [child.role for child in children if child.remote]
    return f"its rig has no {join.role} with remote = true; it takes {', '.join(taken) or 'no process from elsewhere'}"


@dataclass(frozen=True)
class TurnedAway:
    """What was not let in, by process."""

    malformed: dict[str, int]
    """Messages that were dropped."""
    refused: dict[str, int]
    """Connections that were refused."""


def turned_away(children: Iterable[Child], control: ControlServer) -> TurnedAway:
    """Give what the processes and the supervisor did not let in."""
    told = {child.role: child.counters or ProcessCounters() for child in children}
    return TurnedAway(
        malformed={"supervisor": control.malformed.total()} | {role: one.dropped for role, one in told.items()},
        refused={"supervisor": control.refused} | {role: one.refused for role, one in told.items()},
    )
