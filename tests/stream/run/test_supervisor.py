"""The supervisor as a part of another program: driven from any thread, asked where it stands, run more than once."""

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from posestream.stream.rig import Rig, load_rig
from posestream.stream.run.outcome import RunView
from posestream.stream.run.roles import ROLES, Briefing, Death, Place, RoleRow
from posestream.stream.run.supervisor import (
    NothingRecordedError,
    Outcome,
    RunState,
    Supervisor,
    WrongUseError,
)
from posestream.stream.session.session_record import known
from posestream.stream.session.summary_record import SummaryRecord
from posestream.stream.session.verify import verify_session
from posestream.stream.wire.counters import WorkProgress
from posestream.stream.wire.jobs import Job, OwnJob
from posestream.stream.wire.messages import Event

from ...support.runs import ARENA
from ...support.waiting import until

pytestmark = pytest.mark.timeout(180)


class Shown:
    """A display that keeps what it was shown, and where the run stood then."""

    def __init__(self) -> None:
        self.supervisor: Supervisor | None = None
        self.states: list[RunState] = []
        self.phases: list[str] = []
        self.problems: list[str] = []
        self.frames = 0
        self.react: Callable[[str], None] = lambda _text: None

    def phase(self, text: str) -> None:
        self._look()
        self.phases.append(text)
        self.react(text)

    def event(self, event: Event) -> None:
        self._look()

    def problem(self, text: str) -> None:
        self.problems.append(text)

    def running(self, view: RunView) -> None:
        self._look()
        self.frames = sum(camera.captured for camera in view.cameras.values() if camera is not None)

    def progress(self, work: Mapping[str, WorkProgress]) -> None:
        self._look()

    def _look(self) -> None:
        if self.supervisor is not None and self.supervisor.state not in self.states:
            self.states.append(self.supervisor.state)


@pytest.fixture
def made(rig: Callable[[str], Path], tmp_path: Path) -> Callable[..., tuple[Supervisor, Shown]]:
    def make(text: str = ARENA, **options: Any) -> tuple[Supervisor, Shown]:
        (tmp_path / "out").mkdir(exist_ok=True)
        shown = Shown()
        supervisor = Supervisor(load_rig(rig(text)), tmp_path, tmp_path / "out", shown, **options)
        shown.supervisor = supervisor
        return supervisor, shown

    return make


def sound(outcome: Outcome) -> SummaryRecord:
    assert outcome.summary.problems == []
    assert outcome.status == 0
    assert verify_session(outcome.folder)["problems"] == []
    assert json.loads((outcome.folder / "session.json").read_text())["state"] == "complete"
    return outcome.summary


def state_of(supervisor: Supervisor) -> RunState:
    """Where it stands now: type checkers take an attribute for what it was a moment ago."""
    return supervisor.state


def test_it_is_driven_from_another_thread_and_asked_where_it_stands(made) -> None:
    supervisor, shown = made()
    assert state_of(supervisor) is RunState.PREPARING
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    starter = threading.Thread(target=supervisor.start)
    starter.start()
    until(lambda: supervisor.state is RunState.RECORDING)
    starter.join()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    until(lambda: shown.frames > 20)
    with pytest.raises(TimeoutError, match="recording"):
        supervisor.wait(0.01)
    supervisor.stop("the door was opened")
    summary = sound(supervisor.wait(60))
    assert summary.ended == "the door was opened"
    assert known(summary.cameras["top"].frames, {})["recorded"] > 20
    assert shown.states == [
        RunState.ARMING,
        RunState.ARMED,
        RunState.RECORDING,
        RunState.ENDING,
        RunState.CLOSING,
    ]
    assert supervisor.state is RunState.COMPLETE
    assert supervisor.wait() is supervisor.wait(0)  # as often as one likes


def test_two_runs_one_after_the_other_in_one_process(made) -> None:
    threads = set(threading.enumerate())
    sessions = []
    for _ in range(2):
        supervisor, shown = made()
        supervisor.start()
        until(lambda: shown.frames > 5)  # noqa: B023 - it is over before the next one
        supervisor.stop()
        summary = sound(supervisor.wait(60))
        assert summary.ended == "interrupted"
        sessions.append(summary.session)
        with pytest.raises(RuntimeError, match="once"):
            supervisor.start()
    assert len(set(sessions)) == 2
    until(lambda: set(threading.enumerate()) <= threads)


def test_a_stop_before_the_start_records_nothing(made, tmp_path) -> None:
    supervisor, shown = made()
    shown.react = lambda text: supervisor.stop() if text == "opening cameras" else None
    with pytest.raises(NothingRecordedError, match="interrupted before the start; nothing was recorded"):
        supervisor.start()
    assert supervisor.state is RunState.FAILED
    with pytest.raises(NothingRecordedError):
        supervisor.wait(0)
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_use_is_told_before_any_process_is_started(made) -> None:
    supervisor, shown = made(ARENA + "[cameras.side]\nbackend = 'nonesuch'\n")
    with pytest.raises(WrongUseError, match="nonesuch"):
        supervisor.start()
    assert supervisor.state is RunState.FAILED
    assert shown.phases == []


def test_a_run_that_was_not_started_has_no_end(made) -> None:
    supervisor, _ = made()
    with pytest.raises(RuntimeError, match="not started"):
        supervisor.wait(0)


# A role of its own: a row and a module.

WATCHER = """
import sys
from pathlib import Path

import msgspec

from posestream.stream.wire.control import Armed
from posestream.stream.wire.process import parse_arguments, serve


class Settings(msgspec.Struct):
    file: str
    width: int
    fails: bool


class Watcher:
    usage_errors = ()
    failures = (OSError,)

    def arm(self, job, keys):
        self.settings = msgspec.msgpack.decode(job.settings, type=Settings)
        return Armed()

    def start(self, start):
        Path(self.settings.file).write_text(f"sees {self.settings.width}")

    def done(self):
        if self.settings.fails:
            raise OSError("it is blind")
        return False

    def events(self):
        return []

    def counters(self):
        return None

    def stop(self):
        with Path(self.settings.file).open("a") as file:
            file.write(", ended")


given = parse_arguments("watcher")
sys.exit(serve(Watcher(), "watcher", given.control, given.keys))
"""


@pytest.fixture
def watcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RoleRow]:
    """A row for a role whose module is no part of posestream."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "watcher.py").write_text(WATCHER)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    def make(death: Death, *, fails: bool) -> RoleRow:
        def job(briefing: Briefing, place: Place) -> Job:
            stream = briefing.armed["camera:top"].stream
            settings = {"file": str(tmp_path / "seen"), "width": stream.width if stream else 0, "fails": fails}
            return OwnJob(session=briefing.session.id, settings=msgspec.msgpack.encode(settings))

        def places(rig: Rig) -> list[Place]:
            return [Place()]

        return RoleRow(
            name="watcher",
            module="watcher",
            title="the watcher",
            places=places,
            job=job,
            needs=("camera",),
            ends=9,
            death=death,
        )

    return make


def test_a_new_role_takes_a_row_and_a_module(made, watcher, tmp_path) -> None:
    supervisor, shown = made(roles=[*ROLES, watcher(Death.ENDS_RUN, fails=False)])
    supervisor.start()
    until(lambda: shown.frames > 5)
    supervisor.stop()
    summary = sound(supervisor.wait(60))
    assert (summary.malformed or {})["watcher"] == 0
    assert (tmp_path / "seen").read_text() == "sees 96, ended"


def test_the_recording_continues_without_a_role_whose_death_is_only_reported(made, watcher) -> None:
    supervisor, shown = made(roles=[*ROLES, watcher(Death.REPORTED, fails=True)])
    supervisor.start()
    until(lambda: shown.problems)
    frames = shown.frames
    until(lambda: shown.frames > frames + 20)
    assert supervisor.state is RunState.RECORDING
    supervisor.stop()
    outcome = supervisor.wait(60)
    assert outcome.summary.ended == "interrupted"
    assert outcome.summary.problems == shown.problems == ["the watcher: it is blind"]
    assert outcome.status == 1
    assert "OSError" in outcome.places["the watcher"]


def test_the_run_ends_with_a_role_whose_death_ends_it(made, watcher) -> None:
    supervisor, _ = made(roles=[*ROLES, watcher(Death.ENDS_RUN, fails=True)])
    outcome = supervisor.run()
    assert (outcome.summary.ended, outcome.summary.problems) == ("failure", ["the watcher: it is blind"])
