"""The supervisor: starts the processes, lets the run begin when all are armed, and ends it in order.

It works in a thread of its own, from the start of the first process to the last file. So it can be driven from any
thread, by a program of any kind; what ends that program (Ctrl-C, a closed terminal) is that program's to handle.
"""

import contextlib
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import zmq

from posestream.stream.rig import Rig
from posestream.stream.run.afterwards import finish
from posestream.stream.run.arming import arm
from posestream.stream.run.crew import Crew
from posestream.stream.run.current import CLOSE_S, CurrentRun, StopRequests
from posestream.stream.run.ending import end_run
from posestream.stream.run.outcome import (
    Display,
    NothingRecordedError,
    Outcome,
    RunState,
    StartError,
    WrongUseError,
)
from posestream.stream.run.preparing import check_start
from posestream.stream.run.recording import begin, open_session, until_end
from posestream.stream.run.roles import ROLES, RoleRow
from posestream.stream.run.start_logs import keep_start_logs
from posestream.stream.session.record import OutputError, Session
from posestream.stream.wire.control import ControlServer, Stop
from posestream.stream.wire.endpoints import EndpointError, local_endpoint
from posestream.stream.wire.keys import stop_authenticator

__all__ = ["Display", "NothingRecordedError", "Outcome", "RunState", "StartError", "Supervisor", "WrongUseError"]

TEXT_LIMIT = 1_900
REASON_LIMIT = 500
LOOK_S = 0.1
"""How long a thread waits at a time: Windows calls no signal's handler while the main thread waits."""


class Supervisor:
    """Runs a rig once: `start`, `stop` and `wait`, or `run` for all in one.

    Parameters
    ----------
    rig
        The rig.
    rig_folder
        Folder from which its relative paths are taken.
    output
        Folder of the session folders.
    display
        Who shows how it goes.
    roles
        The table of roles.
    """

    def __init__(
        self, rig: Rig, rig_folder: Path, output: Path, display: Display, roles: Sequence[RoleRow] = ROLES
    ) -> None:
        self._rig, self._rig_folder, self._output, self._display = rig, rig_folder.absolute(), output, display
        self._session = Session(rig, output)
        self._crew = Crew(rig, roles)
        self._stops = StopRequests()
        self._state = RunState.PREPARING
        self._begun, self._ended = threading.Event(), threading.Event()
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> RunState:
        """Where the run stands; any thread may ask."""
        return self._state

    def start(self) -> None:
        """Arm all processes and let them begin; returns when the run records.

        Raises
        ------
        WrongUseError
            Where the rig asks for what can't be; nothing was recorded.
        NothingRecordedError
            Where something broke, or somebody stopped it, before anything was recorded.
        """
        if self._state is not RunState.PREPARING:
            raise RuntimeError("a supervisor runs once")
        self._thread = threading.Thread(target=self._work, args=self._prepare(), name="supervisor")
        self._state = RunState.ARMING
        self._thread.start()
        try:
            _until(self._begun, None)
        except BaseException:  # KeyboardInterrupt, where nobody handles it
            self.stop()
            self._thread.join()
            raise
        if self._state is RunState.FAILED:
            self._raise()

    def stop(self, reason: str = "interrupted") -> None:
        """Ask the run to end what it does now; any thread and a signal's handler may. It returns at once.

        While the run arms, nothing is recorded; while it records, it ends in order. Asked for once more, it skips what
        it is at: the frames on their way through inference, the backfill, the manifest.

        Parameters
        ----------
        reason
            What the summary gives as the end of the run.
        """
        self._stops.ask(reason[:REASON_LIMIT] or "interrupted")

    def wait(self, timeout_s: float | None = None) -> Outcome:
        """Wait until everything is written; gives how the run ended.

        Raises
        ------
        TimeoutError
            Where it has not ended after `timeout_s` seconds; it goes on.
        WrongUseError, NothingRecordedError
            As `start`.
        """
        if self._thread is None:
            raise RuntimeError("the run was not started")
        if not _until(self._ended, timeout_s):
            raise TimeoutError(f"the run has not ended within {timeout_s:g} s; it is {self._state.value}")
        self._thread.join()
        self._raise()
        if self._outcome is None:
            raise RuntimeError("the run ended without an outcome")
        return self._outcome

    def run(self) -> Outcome:
        """Run until the end: `start` and `wait`; raises what they raise."""
        self.start()
        try:
            return self.wait()
        except BaseException:
            if self._thread is not None and self._thread.is_alive():  # KeyboardInterrupt, where nobody handles it
                self.stop()
                self._thread.join()
            raise

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _prepare(self) -> tuple["zmq.Context[Any]", ControlServer]:
        """Check what can be checked at once, and open the control connection."""
        try:
            keys = check_start(self._rig, self._rig_folder, self._output, self._crew)
            context: zmq.Context[Any] = zmq.Context()
            try:
                return context, ControlServer(context, self._rig.network.control or local_endpoint("control"), keys)
            except EndpointError as error:
                raise WrongUseError(str(error)) from error
        except BaseException as error:
            self._state, self._error = RunState.FAILED, error
            raise

    def _work(self, context: "zmq.Context[Any]", control: ControlServer) -> None:
        """Run from the first process to the last file; what the supervisor's thread does."""
        logs = Path(tempfile.mkdtemp(prefix="posestream-"))
        try:
            run = CurrentRun(
                self._rig, self._rig_folder, self._session, self._crew, control, logs, self._stops, self._display
            )
            with contextlib.closing(run.deaths):
                try:
                    self._outcome = self._go(run)
                finally:
                    self._release(run, context, control)
        except BaseException as error:  # noqa: BLE001 - who waits raises it again
            self._error = error
        finally:
            rmtree(logs, ignore_errors=True)
            self._state = RunState.COMPLETE if self._error is None else RunState.FAILED
            self._begun.set()
            self._ended.set()

    def _go(self, run: CurrentRun) -> Outcome:
        try:
            self._claim()
            for child in self._crew:
                run.start(child)
            arm(run)
            self._state = RunState.ARMED
            open_session(run)
        except StartError as error:
            self._call_off(run, error)
            raise
        started = time.monotonic()
        begin(run)
        self._state = RunState.RECORDING
        self._begun.set()
        try:
            ended = until_end(run, started)
            self._state = RunState.ENDING
            end_run(run, ended)
        finally:
            run.close_log()
        self._state = RunState.CLOSING
        return finish(run, ended, time.monotonic() - started)

    def _claim(self) -> None:
        try:
            self._session.claim()
        except OutputError as error:
            raise WrongUseError(str(error)) from error

    def _call_off(self, run: CurrentRun, error: StartError) -> None:
        """Keep the logs of a run that did not start, and tell those who wait on other machines."""
        folder = keep_start_logs(self._crew)
        named = [child.log_name for child in self._crew if child.trouble]
        if folder is not None:
            error.log = folder / named[0] if named and named[0] else folder
        for child in self._crew:
            if child.remote and not child.over:
                run.dispatch.send(child, Stop(reason=str(error)[:TEXT_LIMIT]))

    def _release(self, run: CurrentRun, context: "zmq.Context[Any]", control: ControlServer) -> None:
        """Let go of everything, in whatever state the run is."""
        for child in self._crew:
            child.end(0 if child.state in {"starting", "joined", "configured", "armed"} else CLOSE_S)
        run.session.release()
        run.session.let_go()
        control.close()
        stop_authenticator(context)
        context.term()


def _until(event: threading.Event, timeout_s: float | None) -> bool:
    """Wait for an event in steps, between which a signal's handler is called on every system."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while deadline is None or time.monotonic() < deadline:
        if event.wait(LOOK_S if deadline is None else min(LOOK_S, max(0.0, deadline - time.monotonic()))):
            return True
    return event.is_set()
