"""Triggers a device from this program, where no line does."""

from collections.abc import Callable

from posestream.acquisition.backends.genicam_features import Features

__all__ = ["SoftwareTrigger"]


class SoftwareTrigger:
    """Triggers a device at a rate; called between reads, from their thread.

    Parameters
    ----------
    features
        The device's features.
    rate_hz
        Triggers a second.
    clock
        Gives nanoseconds.
    """

    def __init__(self, features: Features, rate_hz: float, clock: Callable[[], int]) -> None:
        self._features, self._clock = features, clock
        self._period_ns = 1e9 / rate_hz
        self._begin_ns = clock()
        self._count = 0

    def fire(self) -> float:
        """Trigger if it is time; gives the seconds until the next one is due.

        A trigger that is late by more than a period is not made up for.

        Raises
        ------
        RefusedError
            Where the device does not take it.
        """
        late_ns = self._clock() - self._begin_ns - self._count * self._period_ns
        if late_ns >= 0:
            self._features.execute("TriggerSoftware")
            skipped = int(late_ns // self._period_ns)
            self._count += 1 + skipped
            late_ns -= (1 + skipped) * self._period_ns
        return max(0.0, -late_ns / 1e9)
