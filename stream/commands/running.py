"""Runs a rig for a command: everything that asks the program to end asks the run to end."""

from posestream.stream.run.supervisor import Outcome, RunState, Supervisor
from posestream.stream.wire.interrupts import interrupts

__all__ = ["run_for_command"]


def run_for_command(supervisor: Supervisor) -> Outcome:
    """Run until the end, Ctrl-C, SIGTERM or a closed terminal; for the main thread alone.

    Raises
    ------
    WrongUseError, NothingRecordedError
        As `Supervisor.start`.
    KeyboardInterrupt
        Where nothing had been started yet.
    """

    def ask() -> None:
        if supervisor.state is RunState.PREPARING:
            raise KeyboardInterrupt
        supervisor.stop()

    with interrupts(ask):
        return supervisor.run()
