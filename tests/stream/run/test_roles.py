"""The table of roles: every row can be started, and its orders fit each other."""

import importlib
import importlib.util

import pytest

from posestream.stream.run.children import Child
from posestream.stream.run.roles import ROLES, RoleRow, row_of

ROWS = pytest.mark.parametrize("row", ROLES, ids=lambda row: row.name)


@ROWS
def test_its_module_is_a_program(row: RoleRow) -> None:
    spec = importlib.util.find_spec(row.module)
    assert spec is not None
    if spec.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{row.module}.__main__") is not None
    if row.by_hand:
        module, _, name = row.by_hand.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


@ROWS
def test_what_it_needs_is_armed_before_it(row: RoleRow) -> None:
    before = [other.name for other in ROLES[: ROLES.index(row)]]
    assert set(row.needs) <= set(before)


@ROWS
def test_it_reads_before_others_send_and_ends_after_them(row: RoleRow) -> None:
    senders = [other for other in ROLES if other.name in row.ended_by]
    assert len(senders) == len(row.ended_by)
    assert all(row.begins < sender.begins and row.ends > sender.ends for sender in senders)


def test_names_are_unique_and_found() -> None:
    assert len({row.name for row in ROLES}) == len(ROLES)
    assert row_of("camera:top") is row_of("camera") is ROLES[0]
    assert [Child(role, remote=False).title for role in ("camera:top", "poses")] == ["camera top", "the pose recorder"]
    with pytest.raises(KeyError, match="viewer"):
        row_of("viewer")
