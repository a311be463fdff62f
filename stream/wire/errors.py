"""The base of the errors whose text is for people. The commands catch it in one place, and end with its exit status."""

from pathlib import Path

__all__ = ["FAILED", "OK", "WRONG_USE", "InputError", "UserError"]

OK, FAILED, WRONG_USE = 0, 1, 2
"""Exit statuses: as asked, the work failed or data was lost, wrong use."""


class UserError(Exception):
    """What went wrong, in a sentence or two that a person can act on; where it ends a command, nothing is added."""

    exit_status = FAILED
    place = ""
    """Where another process broke, for developers."""
    log: Path | None = None
    """Where more can be read."""


class InputError(UserError):
    """What was given can't be used."""

    exit_status = WRONG_USE
