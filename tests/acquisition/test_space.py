from pathlib import Path

import pytest

from posestream.acquisition.space import DiskFullError, SpaceWatch

GIB = 2**30


def test_plenty_of_space_is_no_news(tmp_path: Path) -> None:
    watch = SpaceWatch(tmp_path, 0)
    assert watch.look(0.0, 0) == ""
    assert watch.free_bytes is not None
    assert watch.free_bytes > 0


def test_the_disk_is_looked_at_once_a_second(tmp_path: Path) -> None:
    watch = SpaceWatch(tmp_path / "gone", GIB)
    watch.judge(0.0, 100 * GIB)
    assert watch.look(0.9, 0) == ""
    with pytest.raises(FileNotFoundError):
        watch.look(1.1, 0)


def test_a_disk_that_fills_is_told_of_once_with_the_minutes_left() -> None:
    watch = SpaceWatch(Path("disk"), GIB)
    free = [21 * GIB - second * 2 * GIB // 60 for second in range(600)]  # 2 GiB a minute, for 10 minutes
    warnings = {second: text for second, one in enumerate(free) if one > GIB and (text := watch.judge(second, one))}
    assert list(warnings) == [10]
    assert "enough for 9.8 minutes" in warnings[10]


def test_twice_the_limit_is_told_of_and_told_again_after_there_was_plenty() -> None:
    watch = SpaceWatch(Path("disk"), GIB)
    frees = [3 * GIB, GIB + GIB // 2, GIB + GIB // 2, 5 * GIB, GIB + GIB // 4]
    told = [bool(watch.judge(second, free)) for second, free in enumerate(frees)]
    assert told == [False, True, False, False, True]


def test_below_the_limit_the_run_must_end() -> None:
    with pytest.raises(DiskFullError, match=r"0\.50 GiB free, less than the 1\.00 GiB of session\.stop_free_gib"):
        SpaceWatch(Path("disk"), GIB).judge(0.0, GIB // 2)


def test_what_is_still_to_be_written_counts_as_written() -> None:
    watch = SpaceWatch(Path("disk"), GIB)
    assert watch.judge(0.0, 4 * GIB, GIB) == ""
    with pytest.raises(DiskFullError, match=r"4\.00 GiB free and 3\.50 GiB still to be written"):
        watch.judge(1.0, 4 * GIB, 3 * GIB + GIB // 2)
