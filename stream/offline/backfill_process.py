"""The backfill's process: `python -m posestream.stream.offline.backfill_process --control ADDRESS`.

The network runs in a process of its own at the end of a run, too: the supervisor never loads it.
"""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from posestream.stream.disk.lock import InUseError
from posestream.stream.offline.backfill import Backfill, BackfillError
from posestream.stream.offline.progress import Progress
from posestream.stream.session.reader import NoSessionError
from posestream.stream.wire.control import Armed, Start
from posestream.stream.wire.counters import BackfillCounters
from posestream.stream.wire.jobs import BackfillJob, Job
from posestream.stream.wire.keys import Keys
from posestream.stream.wire.messages import Event
from posestream.stream.wire.process import parse_arguments, serve

__all__ = ["BackfillRole", "main"]


class BackfillRole:
    """Backfills one session: see `posestream.stream.wire.process.Role`."""

    usage_errors: tuple[type[Exception], ...] = ()
    failures: tuple[type[Exception], ...] = (BackfillError, InUseError, NoSessionError, OSError)

    def __init__(self) -> None:
        self._backfill: Backfill | None = None
        self._counters = BackfillCounters()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="backfill")

    def arm(self, job: Job, keys: Keys | None) -> Armed:  # noqa: ARG002 - it has no socket of its own
        """Take in what to do."""
        if not isinstance(job, BackfillJob):
            raise TypeError(f"a backfill was given a {type(job).__name__}")
        self._backfill = Backfill(Path(job.folder), show=self._take, supervised=True)
        return Armed()

    def start(self, start: Start) -> None:  # noqa: ARG002 - there is no pose stream any more
        """Begin."""
        self._thread.start()

    def done(self) -> bool:
        """Whether it has ended; raises what ended it early."""
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def events(self) -> list[Event]:
        """Nothing: what went wrong stands in `summary.json`."""
        return []

    def counters(self) -> BackfillCounters:
        """Give the progress, by camera."""
        return self._counters

    def stop(self) -> None:
        """Finish the batch that the engine is at and close the tables."""
        if self._backfill is not None:
            self._backfill.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            if self._backfill is not None:
                self._backfill.run()
        except Exception as error:  # noqa: BLE001 - the main thread raises it again
            self._error = error

    def _take(self, progress: Progress) -> None:
        self._counters = BackfillCounters(cameras=self._counters.cameras | progress.by_name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a backfill; gives its exit status."""
    given = parse_arguments("backfill", arguments)
    return serve(BackfillRole(), "backfill", given.control, given.keys)


if __name__ == "__main__":
    sys.exit(main())
