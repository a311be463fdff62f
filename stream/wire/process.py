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
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import zmq

from posestream.stream.wire.clock import clock_name
from posestream.stream.wire.control import (
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
    Values,
)
from posestream.stream.wire.deaths import ThreadDeaths, ThreadDiedError
from posestream.stream.wire.interrupts import interrupts
from posestream.stream.wire.jobs import Job
from posestream.stream.wire.keys import Keys, load_keys, stop_authenticator
from posestream.stream.wire.messages import Event
from posestream.stream.wire.plugins import PluginError

__all__ = ["Role", "parse_arguments", "serve"]

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

    def values(self) -> Values:
        """Give the counters and readings."""
        ...

    def stop(self) -> None:
        """Finish what is under way and close everything; called once, after whatever happened.

        The one method that another thread than the main one calls; `values` and `events` are asked meanwhile.
        """
        ...


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
    context: zmq.Context[Any] = zmq.Context.instance()
    keys = load_keys(keys_folder) if keys_folder is not None else None
    join = Join(
        role=name,
        pid=os.getpid(),
        host=platform.node(),
        clock=clock_name(),
        version=version("posestream"),
    )
    link = ControlLink(context, control, join, keys)
    terminated: list[bool] = []
    deaths = ThreadDeaths()
    faulthandler.enable()  # what crashes in a library's own code leaves its stack in the log
    try:
        with interrupts(lambda: terminated.append(True)):
            return _Run(role, link, keys, terminated, deaths).go()
    finally:
        deaths.close()
        link.close()
        stop_authenticator(context)
        context.term()


class _Run:
    def __init__(
        self, role: Role, link: ControlLink, keys: Keys | None, terminated: list[bool], deaths: ThreadDeaths
    ) -> None:
        self._role, self._link, self._keys, self._terminated = role, link, keys, terminated
        self._deaths = deaths

    def go(self) -> int:
        configure = self._command(Configure)
        if configure is None:
            return 1
        try:
            self._link.send(self._role.arm(configure.job, self._keys))
        except BaseException as error:  # noqa: BLE001 - every end is reported
            usage = isinstance(error, self._role.usage_errors)
            self._fail(error, "usage" if usage else "failure")
            with contextlib.suppress(BaseException):
                self._role.stop()
            return 2 if usage else 1
        return self._armed()

    def _armed(self) -> int:
        failed = False
        try:
            start = self._command(Start)
            if start is not None:
                self._role.start(start)
                self._loop()
        except BaseException as error:  # noqa: BLE001
            failed = True
            self._fail(error, "failure")
        try:
            self._stop()
            self._deaths.check()
        except BaseException as error:  # noqa: BLE001
            if not failed:
                failed = True
                self._fail(error, "failure")
        self._report()
        self._link.send(Finished(values=self._values()))
        return 1 if failed else 0

    def _command(self, kind: type[T]) -> T | None:
        while not self._orphaned() and not self._terminated:
            command = self._link.receive(0.1)
            if isinstance(command, kind):
                return command
            if isinstance(command, Stop):
                return None
        return None

    def _loop(self) -> None:
        reported = 0.0
        while not self._role.done() and not self._terminated and not self._orphaned():
            if isinstance(self._link.receive(0.05), Stop):
                return
            self._deaths.check()
            now = time.monotonic()
            if now - reported >= STATUS_S:
                self._report()
                reported = now

    def _stop(self) -> None:
        # What waits for a slow encoder may take minutes; the supervisor must see that it goes on.
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="stop") as pool:
            stopping = pool.submit(self._role.stop)
            while not concurrent.futures.wait([stopping], STATUS_S).done:
                self._report()
        stopping.result()

    def _report(self) -> None:
        for event in self._role.events():
            self._link.send(Notice(event=event))
        self._link.send(Status(values=self._values()))

    def _values(self) -> Values:
        # Under the empty name stands what is the process's, not a camera's.
        values = self._role.values()
        return values | {"": values.get("", {}) | {"malformed_control": self._link.malformed.total()}}

    def _orphaned(self) -> bool:
        return self._link.lost_s > ORPHANED_S

    def _fail(self, error: BaseException, kind: Literal["usage", "failure"]) -> None:
        known_errors: tuple[type[Exception], ...] = (PluginError, ThreadDiedError)
        known = isinstance(error, known_errors + self._role.usage_errors + self._role.failures)
        if not known:
            traceback.print_exception(error, file=sys.stderr)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        self._link.send(Failed(kind=kind, text=text[:TEXT_LIMIT], values=self._values()))
