import csv
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from posestream.acquisition.camera import Capture
from posestream.acquisition.frame_table import MAX_GAP, DeviceIds, FrameTable
from posestream.stream.wire.tables import FRAME_COLUMNS, FrameState, whole_lines


def test_ids_that_follow_each_other_are_unremarkable() -> None:
    ids = DeviceIds()
    assert all(not (seen := ids.see(device_id)).lost and not seen.note for device_id in range(1000, 1100))


def test_a_jump_is_the_ids_that_never_came() -> None:
    ids = DeviceIds()
    ids.see(7)
    assert ids.see(11).lost == range(8, 11)


def test_what_is_no_loss_is_noted() -> None:
    ids = DeviceIds()
    ids.see(7)
    assert ids.see(7).note == "device id repeats"
    assert "from 7 to 3" in ids.see(3).note
    assert "jumped" in ids.see(3 + MAX_GAP + 1).note
    assert ids.see(None).note == ""
    assert not ids.see(3 + MAX_GAP + 2).lost


@given(st.sets(st.integers(0, 500), min_size=1))
def test_delivered_and_lost_ids_are_all_there_are(delivered: set[int]) -> None:
    ids = DeviceIds()
    lost = [device_id for one in sorted(delivered) for device_id in ids.see(one).lost]
    assert sorted(delivered | set(lost)) == list(range(min(delivered), max(delivered) + 1))
    assert not delivered & set(lost)


def test_a_row_for_every_frame_in_order(tmp_path: Path) -> None:
    table = FrameTable(tmp_path / "frames.csv")
    table.recorded(0, Capture(captured_ns=10, device_id=5, device_time=99), 1000, 0, "")
    table.lost_by_camera(range(6, 8))
    table.lost(1, Capture(captured_ns=40, device_id=8), 1030, FrameState.LOST_QUEUE, "odd, very")
    table.recorded(2, Capture(captured_ns=50, device_id=9), 1040, 40, "")
    table.close()
    rows = list(csv.DictReader((tmp_path / "frames.csv").read_text().splitlines()))
    assert tuple(rows[0]) == FRAME_COLUMNS
    assert [row["device_id"] for row in rows] == ["5", "6", "7", "8", "9"]
    assert [row["state"] for row in rows] == ["recorded", "lost-camera", "lost-camera", "lost-queue", "recorded"]
    assert [row["video_frame"] for row in rows] == ["0", "", "", "", "1"]
    assert rows[3]["note"] == "odd, very"
    assert table.states[FrameState.RECORDED] == 2


def test_rows_are_on_their_way_to_the_disk_at_once(tmp_path: Path) -> None:
    table = FrameTable(tmp_path / "frames.csv")
    table.recorded(0, Capture(captured_ns=10), 1000, 0, "")
    assert len(whole_lines(tmp_path / "frames.csv").splitlines()) == 2
    table.close()


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "frames.csv").write_bytes(b"a,b\n1,2\n3,")
    assert whole_lines(tmp_path / "frames.csv") == b"a,b\n1,2\n"
