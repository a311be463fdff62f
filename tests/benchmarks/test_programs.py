"""The programs under `benchmarks/` in a short form: what they show in full must hold in small."""

import argparse
import sys

import pytest

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and no SIGINT for another process"),
]

OWNERS = (
    "frame_subscriber",
    "pose_subscriber",
    "receiver",
    "follower",
    "control_server",
    "control_link",
    "publisher",
)


@pytest.mark.parametrize("owner", OWNERS)
def test_damaged_messages_are_counted_and_valid_ones_arrive(program, owner) -> None:
    row = program("damage").one_socket(owner, 2_000, seed=1)
    assert row["good"], row
    assert row["damaged"] > 1_500


def test_every_owner_of_a_socket_is_tested(program) -> None:
    assert tuple(program("damage").OWNERS) == OWNERS


def test_nonsense_instead_of_a_handshake_is_counted(program) -> None:
    row = program("damage").at_the_door(300)
    assert row["good"], row


@pytest.mark.parametrize("victims", [("poses",), ("supervisor", "camera")], ids=" + ".join)
def test_what_is_older_than_a_second_survives_a_kill(program, lmtracker_folder, victims) -> None:
    kills = program("kills")
    [row] = kills.kill_rounds(lmtracker_folder, [victims], seed=1)
    assert kills.good(row), row


def test_what_is_older_than_two_seconds_survives_a_power_failure(program, lmtracker_folder) -> None:
    power, kills = program("power"), program("kills")
    [row] = kills.kill_rounds(lmtracker_folder, [kills.ROLES], seed=1, kind=power.PowerFailure)
    assert kills.good(row), row
    assert row["bytes lost"] > 0


@pytest.mark.parametrize("case", ["deaf", "encoder"])
def test_what_an_overload_costs_adds_up(program, tmp_path, case) -> None:
    row = program("overload").one_case(case, tmp_path, 2.0)
    assert row["adds up"] == "yes", row


@pytest.mark.parametrize("case", ["full", "stalled"])
def test_what_a_bad_disk_costs_adds_up(program, tmp_path, case) -> None:
    overload = program("overload")
    if not overload.can_mount():
        pytest.skip("needs root on Linux, to mount a file system")
    row = overload.one_case(case, tmp_path)
    assert row["adds up"] == "yes", row


def test_a_long_run_loses_nothing(program, lmtracker_folder) -> None:
    soak = program("soak")
    options = ["--frames", "1000", "--rate", "250", "--buffers", "1000", "--allow", "1e9"]
    given: argparse.Namespace = soak.arguments().parse_args([str(lmtracker_folder), *options])
    rows, problems, summary = soak.soak(lmtracker_folder, given)
    assert problems == []
    assert summary["cameras"]["top"]["frames"]["recorded"] == 1000
    assert {row["process"] for row in rows} == {"supervisor", "camera", "inference", "pose recorder", "reader"}
