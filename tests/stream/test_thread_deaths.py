"""Threads that die are heard of."""

import sys
import threading

import pytest

from posestream.stream.wire.deaths import ThreadDeaths, ThreadDiedError
from posestream.stream.wire.plugins import Guard, PluginError


def run(work) -> None:
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()


@pytest.fixture
def deaths():
    heard = ThreadDeaths()
    yield heard
    heard.close()


def test_a_death_is_told_once(deaths, capsys) -> None:
    def work() -> None:
        raise KeyError("nose")

    deaths.check()
    run(work)
    with pytest.raises(ThreadDiedError, match="its thread \"worker\" died of KeyError: 'nose'"):
        deaths.check()
    deaths.check()
    assert "KeyError" in capsys.readouterr().err


def test_system_exit_is_a_death_of_our_threads_alone(deaths) -> None:
    run(sys.exit)
    deaths.check()
    guard = Guard("engine", (SystemExit,))  # type: ignore[arg-type]
    thread = threading.Thread(target=guard.call, args=("run", sys.exit), name="worker")
    thread.start()
    thread.join()
    with pytest.raises(ThreadDiedError, match="died of SystemExit"):
        deaths.check()


def test_what_is_abandoned_touches_nothing_any_more() -> None:
    from posestream.stream.wire.plugins import AbandonedError

    guard, inside, go, ended = Guard("engine", ()), threading.Event(), threading.Event(), []

    def hang() -> None:
        inside.set()
        go.wait()

    def work() -> None:
        try:
            guard.call("run", hang)
        except AbandonedError:
            ended.append("abandoned")

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    assert guard.watch()[0] == "run"
    assert guard.abandon() == "run"
    go.set()
    thread.join()
    assert ended == ["abandoned"]
    with pytest.raises(AbandonedError):
        guard.call("run", int)


def test_a_guard_names_what_was_raised(capsys) -> None:
    guard = Guard("engine", (ValueError,))
    with pytest.raises(ValueError, match="invalid literal"):
        guard.call("run", int, "x")
    with pytest.raises(PluginError, match=r"^engine raised SystemExit in run: 3$"):
        guard.call("run", sys.exit, 3)
    assert guard.abandon() == ""
    assert guard.call("run", int, "7") == 7
