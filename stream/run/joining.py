"""`posestream join`: runs a process of a rig whose supervisor is on another machine, and says how it stands."""

import contextlib
import importlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import zmq

from posestream.stream.run.roles import ROLES, RoleRow
from posestream.stream.wire.control import ControlLink
from posestream.stream.wire.endpoints import EndpointError, check_endpoint
from posestream.stream.wire.errors import InputError
from posestream.stream.wire.interrupts import take_interrupts
from posestream.stream.wire.keys import Keys, KeysError, load_keys, stop_authenticator
from posestream.stream.wire.process import ORPHANED_S, Ended, Observer, Role, RoleRun, joining

__all__ = ["JoinError", "join_run"]

STAGES = {
    "configured": "the run has taken it in; getting ready",
    "armed": "ready; waiting for the run to start",
    "started": "the run has started",
}


class JoinError(InputError):
    """A role or an address that can't be; the text is for people."""


def join_run(
    role: str, control: str, keys_folder: Path | None, wait_s: float, *, debug: bool, tell: Callable[[str], None]
) -> int:
    """Run a role that may be on another machine for the supervisor at an address; gives the exit status.

    Parameters
    ----------
    role
        What to run: `camera:NAME` or `inference`.
    control
        The supervisor's address.
    keys_folder
        Folder of keys, where the run has them.
    wait_s
        Seconds to wait for a run that is not there yet.
    debug
        Show tracebacks.
    tell
        Takes a sentence for people.

    Raises
    ------
    JoinError
        Where the role, the address or the keys are not understood.
    """
    kind, _, name = role.partition(":")
    row = next((row for row in ROLES if row.by_hand and row.name == kind and row.named == bool(name)), None)
    if row is None:
        raise JoinError(f'"{role}" is no role; write {" or ".join(_choices())}')
    try:
        check_endpoint(control, bind=False, keys=None)
        keys = load_keys(keys_folder) if keys_folder is not None else None
    except (EndpointError, KeysError) as error:
        raise JoinError(str(error)) from error
    asked: list[bool] = []

    def ask() -> None:
        asked.append(True)
        with contextlib.suppress(RuntimeError, OSError):  # in the middle of another sentence, or nobody listens
            tell("ending")

    put_back = take_interrupts(ask)
    tell(f"waiting for the run at {control}, as {role}, {_with(keys)} ({wait_s:g} s at most; Ctrl-C ends this)")
    process, context = _make(row), zmq.Context[Any].instance()
    link = ControlLink(context, control, joining(role), keys, far=True)
    try:
        observer = _Teller(tell, keys, debug=debug)
        ended = RoleRun(process, link, keys, asked, observer=observer, wait_s=wait_s, by_hand=platform.node()).go()
        tell(_last_words(ended, role, control, keys, wait_s, link))
    finally:
        link.close()
        stop_authenticator(context)
        context.term()
        put_back()
    return ended.status


def _choices() -> list[str]:
    names = {False: "{}", True: "{}:NAME, with the name from the rig,"}
    return [names[row.named].format(row.name) for row in ROLES if row.by_hand]


def _make(row: RoleRow) -> Role:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # here a person reads what goes to a log elsewhere
    module, _, name = row.by_hand.partition(":")
    role: Role = getattr(importlib.import_module(module), name)()
    return role


class _Teller(Observer):
    def __init__(self, tell: Callable[[str], None], keys: Keys | None, *, debug: bool) -> None:
        self._tell, self._keys, self._debug = tell, keys, debug
        self._refused = self._connected = self._ready = False

    def waiting(self, link: ControlLink) -> None:
        """Say at once that the run is there, or that somebody is there who does not let this process in."""
        if link.refused and not self._refused:
            self._refused = True
            self._tell(f"a program is there and refuses the connection: {_refusal(self._keys)}; still trying")
        if self._connected != (link.lost_s == 0) and not self._ready:
            self._connected = not self._connected
            self._tell("connected; waiting for what to do" if self._connected else "the connection is lost; waiting")

    def reached(self, stage: Literal["configured", "armed", "started"]) -> None:
        """Say how far it is."""
        self._ready = True
        self._tell(STAGES[stage])

    def failed(self, place: str) -> None:
        """Show the traceback to who wants it."""
        if self._debug:
            print(place, file=sys.stderr, flush=True)  # noqa: T201


def _with(keys: Keys | None) -> str:
    return "without keys" if keys is None else f"with the keys in {keys.folder}"


def _refusal(keys: Keys | None) -> str:
    if keys is None:
        return "it has keys, and this command has none; add --keys FOLDER, a copy of the folder that the rig names"
    return f"{keys.folder} does not hold the keys of the run there; it must be a copy of the folder that the rig names"


def _last_words(ended: Ended, role: str, control: str, keys: Keys | None, wait_s: float, link: ControlLink) -> str:
    if ended.how == "interrupted":
        return f"{role} ended; the run has been told" if ended.status == 0 else f"interrupted; {role} joined no run"
    if ended.status == 0:
        return f"the run at {control} has ended; {role} is done" + (f" ({ended.text})" if ended.text else "")
    texts = {
        "stopped": f"the run at {control} ended before it started: {ended.text}",
        "refused": f"the run at {control} does not take {role}: {ended.text}",
        "failed": f"{role} failed, and the run has been told: {ended.text}",
        "gone": (
            f"the run at {control} is gone: no connection to it for {ORPHANED_S:g} s. It was killed, or the network "
            f"between the machines is down. {role} has closed its files."
        ),
    }
    return f"error: {texts.get(ended.how) or _nobody(control, keys, wait_s, link)}"


def _nobody(control: str, keys: Keys | None, wait_s: float, link: ControlLink) -> str:
    if link.refused:
        return f"{control} refused the connection for {wait_s:g} s: {_refusal(keys)}"
    if link.answered:
        return f"a program answers at {control}, and it is no run of posestream; see which address the rig has there"
    return (
        f"no run at {control} within {wait_s:g} s. On that machine start `posestream run RIG.toml`. Its rig must have "
        f'control = "{control}" under [network], that machine must have this address, and its firewall must let in '
        f"port {control.rpartition(':')[2]}."
    )
