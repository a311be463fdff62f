"""HDF5 files of DeepLabCut, sound and hostile: what pandas would unpickle is never executed."""

import contextlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posestream.inference.formats.hdf_tables import HdfTableError, read_hdf_table
from posestream.inference.formats.pickled_literals import NotLiteralError, read_literal

from ...support.hostile_hdf import PLACES, Command, plant

COLUMNS = pd.MultiIndex.from_product(
    [["me"], ["snout", "tail base", "ohr-l"], ["x", "y", "likelihood"]], names=["scorer", "bodyparts", "coords"]
)
VALUES = np.random.default_rng(0).uniform(0, 640, (5, 9))
VALUES[2, 3:6] = np.nan
PICTURES = [f"labeled-data/m1/img{number}.png" for number in range(5)]
INDICES: dict[str, Any] = {
    "numbers": np.arange(5),
    "paths": PICTURES,
    "three columns": pd.MultiIndex.from_tuples([tuple(path.split("/")) for path in PICTURES]),
}


def written(path: Path, layout: Any, index: str = "numbers") -> pd.DataFrame:
    frame: pd.DataFrame = pd.DataFrame(VALUES, columns=COLUMNS, index=INDICES[index])
    frame.to_hdf(path, key="df_with_missing", format=layout, mode="w")
    return frame


@pytest.mark.filterwarnings("ignore::tables.NaturalNameWarning")
@pytest.mark.filterwarnings("ignore::tables.PerformanceWarning")
@pytest.mark.parametrize(
    ("layout", "index"),
    [("fixed", "numbers"), ("fixed", "paths"), ("fixed", "three columns"), ("table", "numbers"), ("table", "paths")],
)
def test_says_what_pandas_wrote(tmp_path: Path, layout: str, index: str) -> None:
    frame = written(tmp_path / "a.h5", layout, index)
    table = read_hdf_table(tmp_path / "a.h5")
    assert table.levels == ("scorer", "bodyparts", "coords")
    assert table.columns == [*map(tuple, frame.columns)]
    assert table.index == [name if isinstance(name, tuple) else (name,) for name in frame.index]
    np.testing.assert_array_equal(table.values, frame.to_numpy())


def test_columns_of_several_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(VALUES, columns=COLUMNS).round()
    frame = frame.astype({COLUMNS[8]: "int64", COLUMNS[1]: "float32"})
    for layout in ("fixed", "table"):
        frame.to_hdf(tmp_path / "a.h5", key="df_with_missing", format=layout, mode="w")
        table = read_hdf_table(tmp_path / "a.h5")
        assert table.columns == [*map(tuple, frame.columns)]
        np.testing.assert_array_equal(table.values, frame.to_numpy(float))


@pytest.mark.parametrize("layout", ["fixed", "table"])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_executed(tmp_path: Path, layout: str, place: str) -> None:
    path, marker = tmp_path / "a.h5", tmp_path / "executed"
    written(path, layout)
    if not plant(path, place, Command(f"echo > {marker}")):
        pytest.skip("this layout has no such place")
    try:
        read_hdf_table(path)
    except HdfTableError as error:
        assert str(path) in str(error)  # noqa: PT017 - where it reads the file, that is right, too
    assert not marker.exists()


@pytest.mark.skipif(os.name == "nt", reason="the trap is a command of POSIX shells")
def test_the_traps_are_traps(tmp_path: Path) -> None:
    """What pandas does with such a file is what must not happen."""
    written(tmp_path / "a.h5", "table")
    marker = tmp_path / "executed"
    plant(tmp_path / "a.h5", "column names", Command(f"echo > {marker}"))
    with contextlib.suppress(Exception):  # whatever pandas makes of it
        pd.read_hdf(tmp_path / "a.h5")
    assert marker.exists()


def elsewhere(path: Path) -> None:
    """The numbers lie in another file."""
    (path.parent / "secret").write_bytes(bytes(8 * 45))
    with h5py.File(path, "r+") as file:
        del file["df_with_missing/block0_values"]
        file["df_with_missing"].create_dataset(
            "block0_values", (5, 9), "f8", external=[(str(path.parent / "secret"), 0, 8 * 45)]
        )


def virtual(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["df_with_missing/block0_values"]
        layout = h5py.VirtualLayout((5, 9), "f8")
        layout[:] = h5py.VirtualSource(str(path.parent / "other.h5"), "values", (5, 9))
        file["df_with_missing"].create_virtual_dataset("block0_values", layout)


def linked(path: Path) -> None:
    with h5py.File(path.parent / "other.h5", "w") as other:
        other["values"] = VALUES
    with h5py.File(path, "r+") as file:
        del file["df_with_missing/block0_values"]
        file["df_with_missing/block0_values"] = h5py.ExternalLink(str(path.parent / "other.h5"), "/values")


def addresses(path: Path) -> None:
    """A type whose values h5py takes for addresses of Python objects."""
    with h5py.File(path, "r+") as file:
        del file["df_with_missing/block0_values"]
        kind = h5py.h5t.create(h5py.h5t.OPAQUE, 8)
        kind.set_tag(b"NUMPY:O")
        found = h5py.h5d.create(file["df_with_missing"].id, b"block0_values", kind, h5py.h5s.create_simple((5, 9)))
        assert found.dtype == object  # so h5py would read them


def immense(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["df_with_missing/block0_values"]
        file["df_with_missing"].create_dataset("block0_values", (10**9, 9), "f8", chunks=(1, 9))


def many_names(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["df_with_missing"].attrs["axis0_nlevels"] = 10**12


def wrong_codes(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["df_with_missing/axis0_label1"][...] = 100


def circle(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["df_with_missing/axis0"] = file["df_with_missing"]
        file["df_with_missing"].attrs["axis0_variety"] = np.bytes_(b"regular")


def no_table(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["values"] = VALUES


HOSTILE: list[Callable[[Path], object]] = [
    *(elsewhere, virtual, linked, addresses, immense, many_names, wrong_codes, circle, no_table),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000)),
    lambda path: path.write_bytes(path.read_bytes()[:3000]),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_hostile_files_are_named(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = tmp_path / "a.h5"
    written(path, "fixed")
    change(path)
    with pytest.raises(HdfTableError, match=r"a\.h5 can't be read"):
        read_hdf_table(path)


# Pickles of plain values, read without unpickling them.

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(literals, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(value: object, protocol: int) -> None:
    assert read_literal(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_something_is_refused(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "executed"
    for value in (Command(f"echo > {marker}"), [("a", Command(f"echo > {marker}"))], os.system, np.float64(1)):
        with pytest.raises(NotLiteralError):
            read_literal(pickle.dumps(value, protocol))
    assert not marker.exists()


@given(st.binary(max_size=200) | literals.map(pickle.dumps).map(lambda data: data[:-1]))
def test_damaged_pickles_are_named(data: bytes) -> None:
    try:
        read_literal(data)
    except NotLiteralError:
        return


@pytest.mark.parametrize(
    "data", [b"", b".", b"a.", b"s.", b"((.", b"t.", b"\x85.", b"g5\n.", b"]a.", b"(I1\nd.", b"NN."]
)
def test_pickles_that_miss_something(data: bytes) -> None:
    with pytest.raises(NotLiteralError):
        read_literal(data)
