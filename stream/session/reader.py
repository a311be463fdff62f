"""Opens a session, one's own or a stranger's: the folder is looked through, and its records are checked, before use."""

from pathlib import Path

from posestream.stream.session.inside import OutsideError, check_inside
from posestream.stream.session.json_files import read_record
from posestream.stream.session.session_record import SessionRecord
from posestream.stream.session.summary_record import SummaryRecord
from posestream.stream.wire.errors import InputError, UserError

__all__ = ["SESSION_FILE", "SUMMARY_FILE", "NoSessionError", "SummaryError", "load_session", "read_summary"]

SESSION_FILE, SUMMARY_FILE = "session.json", "summary.json"


class NoSessionError(InputError):
    """A folder that is no session, or that can't be opened safely; the text is for people."""


class SummaryError(UserError, ValueError):
    """A `summary.json` that can't be used; the text is for people."""


def load_session(folder: Path) -> SessionRecord:
    """Read `session.json`, and see that nothing in the folder leads out of it.

    Raises
    ------
    NoSessionError
        Where there is none, or it can't be read, or the folder holds a link that leads out of it.
    """
    path = folder / SESSION_FILE
    try:
        if not path.exists():
            raise FileNotFoundError("there is no such file")
        check_inside(folder)
        return read_record(path, SessionRecord)
    except OutsideError as error:
        raise NoSessionError(f"{folder} is not opened: {error}") from error
    except (OSError, ValueError) as error:
        raise NoSessionError(f"{folder} is no session folder: {SESSION_FILE}: {error}") from error


def read_summary(folder: Path) -> SummaryRecord | None:
    """Read `summary.json`; None where there is none, as after a kill.

    Raises
    ------
    SummaryError
        Where it can't be read, or says what no run writes.
    """
    path = folder / SUMMARY_FILE
    if not path.exists():
        return None
    try:
        return read_record(path, SummaryRecord)
    except (OSError, ValueError) as error:
        raise SummaryError(str(error)) from error
