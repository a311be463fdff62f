from hypothesis import given
from hypothesis import strategies as st

from posestream.acquisition.device_ids import MAX_GAP, MAX_LATE, DeviceIds

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


def test_a_frame_that_others_overtook_costs_no_further_loss() -> None:
    ids = DeviceIds()
    seen = [ids.see(device_id) for device_id in (5, 7, 6, 8)]
    assert [list(one.lost) for one in seen] == [[], [6], [], []]
    assert [one.note for one in seen] == ["", "", "device id came late, after 7", ""]
    assert [one.device_id for one in seen] == [5, 7, 6, 8]


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
            assert seen.device_id > before or before - seen.device_id <= MAX_LATE
        before = seen.device_id if seen.device_id is not None else before
