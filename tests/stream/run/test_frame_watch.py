import pytest

from posestream.stream.run.frame_watch import FrameWatch, Hearing
from posestream.stream.wire.messages import StreamInfo


class Lab:
    """A camera and inference that report every half second, as their processes do; time passes by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.watch = FrameWatch(lambda: self.now)
        self.sent = self.received = self.true_sent = self.true_received = 0
        self.reported_s = 0.0
        self.changes: list[Hearing] = []

    def pass_time(self, seconds: float, *, sends: bool = True, hears: bool = True, reports: bool = True) -> None:
        for _ in range(round(seconds * 20)):
            self.now = round(self.now + 0.05, 2)
            tick = round(self.now * 20)
            if sends and tick % 2:
                self.true_sent += 1
            if hears:
                self.true_received = self.true_sent
            if tick % 10 == 0:
                self.sent = self.true_sent
            if reports and tick % 10 == 5:
                self.received, self.reported_s = self.true_received, self.now
            self.changes += self.watch.look({"top": self.sent}, {"top": self.received}, self.reported_s)


def test_while_frames_arrive_nothing_is_said() -> None:
    lab = Lab()
    lab.pass_time(20)
    assert lab.changes == []
    assert lab.watch.deaf == []


@pytest.mark.parametrize("offset", [0.05 * step for step in range(10)])
@pytest.mark.parametrize("reports", [True, False])
def test_frames_that_do_not_arrive_are_told_within_two_seconds(offset: float, reports: bool) -> None:
    lab = Lab()
    lab.pass_time(5 + offset)
    lab.pass_time(2, hears=False, reports=reports)
    [change] = lab.changes
    assert not change.again
    assert change.missing > 0
    assert lab.watch.deaf == ["top"]
    assert change.reported == bool(lab.watch.missing) == reports  # only what inference says itself is certain


def test_so_are_the_first_ones() -> None:
    lab = Lab()
    lab.pass_time(2, hears=False)
    assert [change.again for change in lab.changes] == [False]
    assert lab.watch.missing["top"] > 0


def test_it_is_said_once_and_again_when_frames_come_again() -> None:
    lab = Lab()
    lab.pass_time(5)
    lab.pass_time(10, hears=False)
    lab.pass_time(10)
    assert [change.again for change in lab.changes] == [False, True]
    assert lab.changes[1].seconds == pytest.approx(10, abs=1)
    assert lab.watch.deaf == []


def test_a_camera_that_waits_for_its_trigger_is_not_missed() -> None:
    lab = Lab()
    for _ in range(5):
        lab.pass_time(3, sends=False)
        lab.pass_time(0.3)
    assert lab.changes == []


def test_an_event_names_the_address_that_another_machine_must_reach() -> None:
    lab = Lab()
    lab.pass_time(2, hears=False)
    [change] = lab.changes
    info = StreamInfo(camera="top", endpoint="tcp://192.0.2.1:5561", height=480, width=640, pixel_format="gray8")
    event = change.event("s", info)
    assert (event.name, event.level, event.source) == ("no-frames", "warning", "top")
    assert "tcp://192.0.2.1:5561" in event.text
    assert "keys" in event.text
    assert event.data["missing"] == change.missing
