"""The frame that every process of a run stands in: join, arm, start, report, end.

A role (camera, inference, pose recorder) says what these mean for it. The process ends on the supervisor's word, when
the role has nothing more to do, when it fails, when it is interrupted (SIGTERM; started by hand also Ctrl-C and a
closed terminal), and when the supervisor has been gone for a while; it closes its files in every case.
"""

import argparse
import concurrent.futures
import contextlib
import faulthandler
import os
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import msgspec
import zmq

from posestream.stream.wire.clock import clock_name
from posestream.stream.wire.control import (
    MAX_TRACEBACK,
    Armed,
    Configure,
    ControlLink,
    Failed,
    Finished,
    Join,
    Notice,
    Start,
    Status,
    Stop,
)
from posestream.stream.wire.counters import ProcessCounters
from posestream.stream.wire.deaths import ThreadDeaths, ThreadDiedError
from posestream.stream.wire.interrupts import interrupts
from posestream.stream.wire.jobs import Job
from posestream.stream.wire.keys import Keys, load_keys, stop_authenticator
from posestream.stream.wire.messages import Event
from posestream.stream.wire.plugins import PluginError

__all__ = ["ORPHANED_S", "Ended", "FrameReader", "Observer", "Role", "RoleRun", "joining", "parse_arguments", "serve"]

T = TypeVar("T")

ORPHANED_S = 3.0
"""Seconds without a supervisor after which a process closes its files and ends."""
STATUS_S = 0.5
TEXT_LIMIT = 1_900


class Role(Protocol):
    """What a process does; all methods are called from its main thread."""

    usage_errors: tuple[type[Exception], ...]
    """Errors of `arm` that mean that what was asked for is wrong; their text is for people."""
    failures: tuple[type[Exception], ...]
    """Errors of a run whose text is for people; any other is a defect and gets a traceback in the log."""

    def arm(self, job: Job, keys: Keys | None) -> Armed:
        """Open and warm up everything; `keys` are for every socket beyond this machine."""
        ...

    def start(self, start: Start) -> None:
        """Begin."""
        ...

    def done(self) -> bool:
        """Whether it has nothing more to do; raises what went wrong in its threads."""
        ...

    def events(self) -> list[Event]:
        """Take what a person should know since the last call."""
        ...

    def counters(self) -> ProcessCounters | None:
        """Give the counters and readings; none before it is armed."""
        ...

    def stop(self) -> None:
        """Finish what is under way and close everything; called once, after whatever happened.

        The one method that another thread than the main one calls; `counters` and `events` are asked meanwhile.
        """
        ...


@runtime_checkable
class FrameReader(Protocol):
    """A role that reads frames, and accounts for each that was published."""

    def published(self, frames: dict[str, int]) -> None:
        """Hear how many frames each camera published, before `stop`: what has not come by then never will."""


@dataclass(frozen=True)
class Ended:
    """How a role ended."""

    status: int
    """Exit status: 0 as asked, 1 the work failed, 2 wrong use."""
    how: Literal["finished", "stopped", "refused", "failed", "interrupted", "gone", "not joined"]
    """`stopped`: by the supervisor; `gone`: the supervisor was no longer there; `not joined`: it never was."""
    text: str = ""
    """The supervisor's reason, or what failed."""


class Observer:
    """Hears how far a role has come; this one keeps it to itself, and prints where the role failed to its log."""

    def waiting(self, link: ControlLink) -> None:
        """Look at the connection, a few times a second until there is a job."""

    def reached(self, stage: Literal["configured", "armed", "started"]) -> None:
        """Hear that the role has its job, has everything open, or begins."""

    def failed(self, place: str) -> None:
        """Hear where the role failed: a traceback."""
        print(place, file=sys.stderr, flush=True)  # noqa: T201


def parse_arguments(role: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments that every process takes: `control` (address), `name`, `keys` (folder or none)."""
    parser = argparse.ArgumentParser(prog=f"posestream {role}", description=f"The {role} process of a posestream run.")
    parser.add_argument("--control", required=True, help="the supervisor's address")
    parser.add_argument("--keys", type=Path, help="folder of keys, where the run spans machines")
    parser.add_argument("--name", default="", help="the camera's name in the rig")
    return parser.parse_args(arguments)


def serve(role: Role, name: str, control: str, keys_folder: Path | None) -> int:
    """Run a role until it ends.

    Parameters
    ----------
    role
        What to do.
    name
        `camera:NAME`, `inference` or `poses`.
    control
        The supervisor's address.
    keys_folder
        Folder of keys, where the run spans machines.

    Returns
    -------
    int
        Exit status: 0 as asked, 1 the work failed, 2 wrong use.
    """
    faulthandler.enable()  # what crashes in a library leaves its place in the log
    context: zmq.Context[Any] = zmq.Context.instance()
    keys = load_keys(keys_folder) if keys_folder is not None else None
    link = ControlLink(context, control, joining(name), keys)
    asked: list[bool] = []
    try:
        with interrupts(lambda: asked.append(True)):
            return RoleRun(role, link, keys, asked).go().status
    finally:
        link.close()
        stop_authenticator(context)
        context.term()


def joining(name: str) -> Join:
    """Say who this process is."""
    return Join(
        role=name,
        pid=os.getpid(),
        host=platform.node(),
        clock=clock_name(),
        version=version("posestream"),
    )


class RoleRun:
    """A role from its job to its end.

    Parameters
    ----------
    role
        What to do.
    link
        To the supervisor.
    keys
        For the role's sockets, where the run spans machines.
    asked
        Not empty from when on this process was asked to end.
    observer
        Who hears how far it is.
    wait_s
        Seconds to wait for a supervisor that is not there.
    by_hand
        Who started it, where a person did, and may end it; the run is told.
    """

    def __init__(
        self,
        role: Role,
        link: ControlLink,
        keys: Keys | None,
        asked: list[bool],
        *,
        observer: Observer | None = None,
        wait_s: float = ORPHANED_S,
        by_hand: str = "",
    ) -> None:
        self._role, self._link, self._keys, self._asked = role, link, keys, asked
        self._observer, self._patience_s, self._by_hand = observer or Observer(), wait_s, by_hand
        self._failure: Ended | None = None
        self._stop_command: Stop | None = None
        self._deaths = ThreadDeaths()

    def go(self) -> Ended:
        """Run to the end; every file is closed then, whatever happened."""
        try:
            return self._run()
        finally:
            self._deaths.close()

    def _run(self) -> Ended:
        configure = self._command(Configure)
        if configure is None:
            return self._unconfigured()
        self._patience_s = ORPHANED_S
        self._observer.reached("configured")
        try:
            armed = self._role.arm(configure.job, self._keys)
            msgspec.convert(msgspec.to_builtins(armed), Armed)  # what the supervisor would drop is said here
            self._link.send(armed)
        except BaseException as error:  # noqa: BLE001 - every end is reported
            failure = self._fail(error, "usage" if isinstance(error, self._role.usage_errors) else "failure")
            with contextlib.suppress(BaseException):
                self._role.stop()
            return failure
        self._observer.reached("armed")
        return self._armed()

    def _unconfigured(self) -> Ended:
        if self._stop_command is not None:
            stop = self._stop_command
            return Ended(2, "refused", stop.reason) if stop.refused else Ended(1, "stopped", stop.reason)
        return Ended(1, "interrupted" if self._asked else "not joined")

    def _armed(self) -> Ended:
        finished = started = False
        try:
            start = self._command(Start)
            if start is not None:
                started = True
                self._role.start(start)
                self._observer.reached("started")
                finished = self._loop()
        except BaseException as error:  # noqa: BLE001
            self._fail(error, "failure")
        self._say_who_ended_it(finished)
        try:
            self._stop()
            self._deaths.check()
        except BaseException as error:  # noqa: BLE001
            if self._failure is None:
                self._fail(error, "failure")
        self._report()
        self._link.send(Finished(counters=self._counters()))
        return self._ended(started, finished)

    def _say_who_ended_it(self, finished: bool) -> None:
        """Tell the run that a person has ended this process, where that leaves frames without their poses."""
        if not (self._by_hand and self._asked and isinstance(self._role, FrameReader)):
            return
        if not finished and not self._stop_command and not self._failure:
            text = f"ended by hand on {self._by_hand}"
            self._link.send(Failed(kind="failure", text=text, counters=self._counters()))

    def _ended(self, started: bool, finished: bool) -> Ended:
        if self._failure is not None:
            return self._failure
        if self._stop_command is not None:
            return Ended(0 if started else 1, "stopped", self._stop_command.reason)
        if finished:
            return Ended(0, "finished")
        return Ended(0, "interrupted") if self._asked else Ended(1, "gone")

    def _command(self, kind: type[T]) -> T | None:
        while not self._orphaned() and not self._asked:
            command = self._link.receive(0.1)
            if isinstance(command, kind):
                return command
            if isinstance(command, Stop):
                self._stop_command = command
                return None
            self._observer.waiting(self._link)
        return None

    def _loop(self) -> bool:
        """Report until the end; says whether the role had nothing more to do."""
        reported = 0.0
        while not self._asked and not self._orphaned():
            if self._role.done():
                return True
            command = self._link.receive(0.05)
            if isinstance(command, Stop):
                self._stop_command = command
                return False
            self._deaths.check()
            now = time.monotonic()
            if now - reported >= STATUS_S:
                self._report()
                reported = now
        return False

    def _stop(self) -> None:
        if self._stop_command is not None and isinstance(self._role, FrameReader):
            self._role.published(self._stop_command.frames)
        # What waits for a slow encoder may take minutes; the supervisor must see that it goes on.
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="stop") as pool:
            stopping = pool.submit(self._role.stop)
            while not concurrent.futures.wait([stopping], STATUS_S).done:
                self._report()
        stopping.result()

    def _report(self) -> None:
        for event in self._role.events():
            self._link.send(Notice(event=event))
        self._link.send(Status(counters=self._counters()))

    def _counters(self) -> bytes:
        counters = self._role.counters()
        if counters is None:
            return b""
        counters = msgspec.structs.replace(counters, malformed_control=self._link.malformed.total())
        return msgspec.msgpack.encode(counters)

    def _orphaned(self) -> bool:
        return self._link.lost_s > self._patience_s

    def _fail(self, error: BaseException, kind: Literal["usage", "failure"]) -> Ended:
        known_errors: tuple[type[Exception], ...] = (PluginError, ThreadDiedError)
        known = isinstance(error, known_errors + self._role.usage_errors + self._role.failures)
        text = (str(error) if known else f"{type(error).__name__}: {error}")[:TEXT_LIMIT]
        place = "".join(traceback.format_exception(error))
        self._observer.failed(place)  # first, for the supervisor looks into the log when it hears of it
        self._link.send(Failed(kind=kind, text=text, counters=self._counters(), traceback=place[-MAX_TRACEBACK:]))
        self._failure = Ended(2 if kind == "usage" else 1, "failed", text)
        return self._failure
