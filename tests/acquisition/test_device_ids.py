from hypothesis import given
from hypothesis import strategies as st

from posestream.acquisition.device_ids import MAX_FOUND, MAX_GAP, MAX_LATE, DeviceIds

GIGE_VISION = (1, 65_535)

ranges = st.tuples(st.integers(0, 5), st.integers(1, 400)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def test_ids_that_follow_each_other_are_unremarkable() -> None:
    ids = DeviceIds()
    assert all(not (seen := ids.see(device_id)).lost and not seen.note for device_id in range(1000, 1100))


def test_a_jump_is_the_ids_that_never_came() -> None:
    ids = DeviceIds()
    ids.see(7)
    assert ids.see(11).lost == range(8, 11)


def test_what_is_no_loss_is_noted() -> None:
    ids = DeviceIds()
    ids.see(700)
    assert ids.see(700).note == "device id repeats"
    assert "from 700 to 3" in ids.see(3).note
    assert ids.see(4).note == ""
    assert "jumped" in ids.see(4 + MAX_GAP + 1).note
    assert not ids.see(4 + MAX_GAP + 2).lost
    assert "none of its range" in ids.see(-1).note
    assert "none of its range" in ids.see(2**70).note


def test_a_frame_that_others_overtook_is_not_lost() -> None:
    ids = DeviceIds()
    seen = [ids.see(device_id) for device_id in (119, 121, 120, 122)]
    assert [list(one.lost) for one in seen] == [[], [120], [], []]
    assert [one.note for one in seen] == ["", "", "device id came late, after 121", ""]
    assert [one.device_id for one in seen] == [119, 121, 120, 122]
    assert [one.late for one in seen] == [False, False, True, False]
    assert not any(one.final for one in seen)
    [gap] = ids.end()
    assert gap.lost == 0


def test_a_gap_counts_as_lost_after_some_frames_and_a_frame_of_it_may_still_be_found() -> None:
    ids = DeviceIds()
    ids.see(10)
    ids.see(30)
    assert ids.see(12).late
    finals = [ids.see(device_id).final for device_id in range(31, 31 + MAX_LATE)]
    assert [len(final) for final in finals] == [0] * (MAX_LATE - 1) + [1]
    assert (finals[-1][0].lost, finals[-1][0].first_and_last) == (18, (11, 29))
    found = ids.see(11)
    assert (found.late, found.found, found.final) == (True, True, ())
    assert ids.see(31 + MAX_LATE).note == ""
    for device_id in range(32 + MAX_LATE, 32 + MAX_LATE + MAX_FOUND):
        ids.see(device_id)
    assert "jumped" in ids.see(13).note
    assert ids.end() == ()


def test_a_frame_that_comes_twice_is_not_late() -> None:
    ids = DeviceIds()
    seen = [ids.see(device_id) for device_id in (5, 7, 6, 6, 5, 7, 8)]
    notes = [one.note for one in seen]
    assert notes == ["", "", "device id came late, after 7", *["device id repeats"] * 3, ""]
    assert [gap.lost for gap in ids.end()] == [0]


def test_the_first_frames_in_the_wrong_order_cost_nothing() -> None:
    ids = DeviceIds()
    seen = [ids.see(device_id) for device_id in (5, 4, 6)]
    assert ["late" in one.note for one in seen] == [False, True, False]
    assert not any(one.late or one.lost for one in seen)


def test_a_frame_without_a_number_stands_for_the_next() -> None:
    ids = DeviceIds()
    seen = [ids.see(device_id) for device_id in (5, None, 7, None, 10)]
    assert [list(one.lost) for one in seen] == [[], [], [], [], [9]]
    assert [one.note for one in seen] == ["", "device id missing", "", "device id missing", ""]


def test_a_camera_without_numbers_is_unremarkable() -> None:
    ids = DeviceIds()
    assert all(ids.see(None).note == "" for _ in range(5))


def test_losses_over_the_wrap_are_counted_exactly() -> None:
    ids = DeviceIds(GIGE_VISION)
    ids.see(65_533)
    seen = ids.see(2)
    assert seen.lost == range(65_534, 65_537)
    assert seen.device_id == 65_537
    assert ids.see(3).device_id == 65_538
    assert "none of its range" in ids.see(0).note


def test_a_device_that_was_opened_again_has_lost_nothing() -> None:
    ids = DeviceIds(GIGE_VISION)
    ids.see(60_000)
    ids.begin_anew(GIGE_VISION)
    seen = ids.see(9)
    assert not seen.lost
    assert seen.device_id == 9
    assert "began anew after 60000" in seen.note
    assert ids.see(10).note == ""


@given(ranges, st.integers(0, 10_000), st.data())
def test_any_losses_of_less_than_half_the_range_are_found_exactly(raw_range, start, data) -> None:
    first, last = raw_range
    size = last - first + 1
    # gaps strictly below half the range, mixed with none
    gaps = data.draw(st.lists(st.integers(0, (size - 1) // 2), max_size=60))
    true_ids = [first + start % size]
    for gap in gaps:
        true_ids.append(true_ids[-1] + gap + 1)
    ids = DeviceIds(raw_range)
    lost: list[int] = []
    for true_id in true_ids:
        seen = ids.see(first + (true_id - first) % size)
        assert seen.device_id == true_id
        assert seen.note == ""
        lost += seen.lost
    assert sorted(true_ids + lost) == list(range(true_ids[0], true_ids[-1] + 1))


@given(st.sets(st.integers(0, 200), min_size=1), st.lists(st.integers(0, 200), max_size=20))
def test_each_number_is_delivered_or_lost_whatever_the_order(delivered: set[int], places: list[int]) -> None:
    order = sorted(delivered)
    for place in {3 * place + 1 for place in places}:  # each frame is overtaken by one at most, and the first by none
        order[place : place + 2] = reversed(order[place : place + 2])
    ids, lost, told = DeviceIds(), set(), 0
    for device_id in order:
        seen = ids.see(device_id)
        lost |= set(seen.lost)
        lost -= {seen.device_id} if seen.late else set()
        told += sum(gap.lost for gap in seen.final) - seen.found
    assert lost == set(range(min(order), max(order) + 1)) - delivered
    assert told + sum(gap.lost for gap in ids.end()) == len(lost)


@given(st.sets(st.integers(0, 500), min_size=1))
def test_delivered_and_lost_ids_are_all_there_are(delivered: set[int]) -> None:
    ids = DeviceIds()
    lost = [device_id for one in sorted(delivered) for device_id in ids.see(one).lost]
    assert sorted(delivered | set(lost)) == list(range(min(delivered), max(delivered) + 1))
    assert not delivered & set(lost)


@given(
    st.one_of(st.none(), ranges, st.just(GIGE_VISION), st.just((0, 2**64 - 1))),
    st.lists(st.one_of(st.none(), st.integers(-3, 500), st.integers(-(2**70), 2**70)), max_size=80),
    st.integers(0, 80),
)
def test_whatever_comes_is_taken(raw_range, raws, reopened_at) -> None:
    ids = DeviceIds(raw_range)
    before: int | None = None
    for number, raw in enumerate(raws):
        if number == reopened_at:
            ids.begin_anew(raw_range)
        seen = ids.see(raw)
        assert len(seen.lost) < MAX_GAP
        assert seen.device_id is None or seen.device_id >= 0
        assert seen.device_id is None or seen.device_id <= 2**64 + 400
        if seen.lost:
            assert seen.lost[-1] + 1 == seen.device_id
            assert seen.note == ""
        if not seen.note and before is not None and seen.device_id is not None:
            assert seen.device_id > before
        before = seen.device_id if seen.device_id is not None and "device id came late" not in seen.note else before
