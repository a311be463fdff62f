"""Maps the stamps of a device's clock to the host's monotonic clock.

A frame arrives some time after the device stamped it, sometimes much later and never earlier. So of all lines that
turn device time into host time, the right one lies under the delays (arrival minus device time) and touches the
shortest: an edge of their lower convex hull. The edge above the middle of the points minimises the sum of the
distances (Moon, Skelly & Towsley 1999, INFOCOM, "Estimation and removal of clock skew from network delay measurements";
Zhang, Liu & Xia 2002, INFOCOM, "Clock synchronization algorithms for network measurements", who give the hull and the
handling of clock resets). Two hulls in turn, each begun when the other is half grown, follow a clock whose rate
changes with its temperature (the ETH's `cuckoo_time_translator` does so for camera clocks).

The shortest delay itself can't be known from one side: mapped times are late by it, and all by the same.
"""

from bisect import bisect_right

from posestream.stream.disk.notes import Note

__all__ = ["DeviceClock"]

WINDOW_NS = 300e9
"""Age, by the host's clock, at which a fit takes over from the one before; it is given up at twice this age."""
SETTLED_NS = 5e9
"""Age from which the slope of a fit is believed."""
YOUNG_SKEW = 1e-3
"""The most that the slope of a younger fit may differ from the nominal rate."""
MAX_SKEW = 0.05
"""A clock that differs more is not what it is said to be, and is not used."""
JUMP_NS = 100e6
"""A frame that is so much earlier than the shortest delay allows shows that the device's clock jumped."""
MAX_UNSETTLED = 5
"""Fits in a row that broke before they settled, after which the clock is not used."""
MAX_VERTICES = 256


class _Envelope:
    """The lower convex hull of points of rising x; O(1) for each on average."""

    def __init__(self, x: float, y: float) -> None:
        self._xs, self._ys = [x], [y]
        self.slope = 0.0
        self.age_ns = 0.0

    def add(self, x: float, y: float) -> None:
        """Take in a point to the right of all others."""
        xs, ys = self._xs, self._ys
        while len(xs) > 1 and (ys[-1] - ys[-2]) * (x - xs[-2]) >= (y - ys[-2]) * (xs[-1] - xs[-2]):
            xs.pop()
            ys.pop()
        xs.append(x)
        ys.append(y)
        self.age_ns = x + y - xs[0] - ys[0]
        if len(xs) > MAX_VERTICES:
            del xs[1:-1:2], ys[1:-1:2]

    def height(self, x: float) -> float:
        """Height of the line at x, which is at or right of the last point; sets `slope`."""
        xs, ys = self._xs, self._ys
        if len(xs) == 1:
            return ys[0]
        right = min(bisect_right(xs, (xs[0] + x) / 2), len(xs) - 1)
        slope = (ys[right] - ys[right - 1]) / (xs[right] - xs[right - 1])
        if self.age_ns < SETTLED_NS and abs(slope) > YOUNG_SKEW:
            slope = YOUNG_SKEW if slope > 0 else -YOUNG_SKEW
            self.slope = slope
            return min(low + slope * (x - at) for at, low in zip(xs, ys, strict=True))
        self.slope = slope
        return ys[right] + slope * (x - xs[right])


class DeviceClock:
    """Maps one device's stamps, a frame at a time, in bounded memory.

    Mapped times are never later than the arrival, and never before the time of the frame before as long as arrivals
    are in order.

    Parameters
    ----------
    tick_ns
        Nanoseconds of a tick, as the device says.
    """

    def __init__(self, tick_ns: float) -> None:
        self._tick_ns = tick_ns
        self._fit: _Envelope | None = None
        self._heir: _Envelope | None = None
        self._unsettled = 0
        self._origin = self._origin_ns = 0  # device time and arrival from which the fit counts
        self._last_x = 0.0
        self._mapped_ns: int | None = None
        self._in_row = False  # whether the frame before had a stamp
        self.restarts = 0
        """Times that the device's clock was found to have jumped or begun anew."""
        self.usable = True
        """False once it was found to be no clock of the rate that the device says."""

    @property
    def drift_ppm(self) -> float | None:
        """Millionths by which the device's clock is fast; none while that is not known."""
        if self._fit is None or not self.usable or self._fit.age_ns < SETTLED_NS:
            return None
        return -self._fit.slope / (1 + self._fit.slope) * 1e6

    def begin_anew(self, tick_ns: float) -> None:
        """Forget the fit: the device was opened again."""
        self._tick_ns, self._fit, self._unsettled, self.usable = tick_ns, None, 0, True

    def pass_over(self, arrived_ns: int) -> int:
        """Give the time of a frame that has no stamp: its arrival."""
        self._mapped_ns, self._in_row = arrived_ns, False
        return arrived_ns

    def map(self, device_time: int, arrived_ns: int) -> tuple[int, str]:
        """Map a stamp.

        Parameters
        ----------
        device_time
            The device's stamp of a frame, ticks.
        arrived_ns
            Host time at which the frame was there.

        Returns
        -------
        captured_ns
            The stamp in host time.
        note
            What is odd about it; empty where nothing is.
        """
        if not self.usable:
            return self.pass_over(arrived_ns), ""
        if self._fit is None:
            return self._begin(device_time, arrived_ns), ""
        x = (device_time - self._origin) * self._tick_ns
        delay = arrived_ns - self._origin_ns - x
        step = x - self._last_x
        if step < 0 or delay < self._fit.height(x) - JUMP_NS:
            return self._restart(device_time, arrived_ns, step)
        if step > 0:
            self._take(x, delay)
        if self._fit.age_ns >= SETTLED_NS and abs(self._fit.slope) > MAX_SKEW:
            return self._give_up(arrived_ns)
        mapped_ns = round(self._origin_ns + x + self._fit.height(x))
        if (
            self._mapped_ns is not None
        ):  # a fit that moves down is followed at half the pace, so that times go on rising
            mapped_ns = max(mapped_ns, self._mapped_ns + (round(step / 2) if self._in_row else 0))
        self._mapped_ns, self._in_row = min(mapped_ns, arrived_ns), True
        return self._mapped_ns, ""

    def _take(self, x: float, delay: float) -> None:
        assert self._fit is not None  # noqa: S101 - for the type checker
        self._last_x = x
        self._fit.add(x, delay)
        if self._heir is not None:
            self._heir.add(x, delay)
        if self._fit.age_ns > 2 * WINDOW_NS and self._heir is not None:
            self._fit, self._heir = self._heir, None
        if self._fit.age_ns > WINDOW_NS and self._heir is None:
            self._heir = _Envelope(x, delay)

    def _begin(self, device_time: int, arrived_ns: int) -> int:
        self._origin, self._origin_ns, self._last_x = device_time, arrived_ns, 0.0
        self._fit, self._heir = _Envelope(0.0, 0.0), None
        self._mapped_ns, self._in_row = arrived_ns, True
        return arrived_ns

    def _restart(self, device_time: int, arrived_ns: int, step: float) -> tuple[int, str]:
        assert self._fit is not None  # noqa: S101 - for the type checker
        young = self._fit.age_ns < SETTLED_NS
        self._unsettled = self._unsettled + 1 if young else 0
        if self._unsettled >= MAX_UNSETTLED:
            return self._give_up(arrived_ns)
        mapped_ns = self._begin(device_time, arrived_ns)
        if young and step >= 0:  # no jump: the first frames came late, as those of a camera that has just started do
            return mapped_ns, ""
        self.restarts += 1
        return mapped_ns, (Note.DEVICE_CLOCK_WENT_BACK if step < 0 else Note.DEVICE_CLOCK_JUMPED).text()

    def _give_up(self, arrived_ns: int) -> tuple[int, str]:
        self.usable = False
        self.restarts += 1
        return self.pass_over(arrived_ns), Note.DEVICE_CLOCK_UNUSABLE.text()
