"""Reads the tables that DeepLabCut keeps in HDF5 files (`.h5`) without ever unpickling anything.

`pandas.read_hdf` unpickles attributes of the file, and PyTables does so with every node that it opens: a file from a
stranger runs what the stranger likes. Here h5py reads the raw numbers and text, in both layouts that pandas writes,
`fixed` (DeepLabCut's labels) and `table` (its results), and the names of a `table`'s columns come from a parser that
knows plain values only (`pickled_literals`).

Of h5py, too, only what is safe is used: no type that could hold the address of a Python object (it takes the tag
`NUMPY:O` of an opaque type at its word) or text of variable length, no data that lies in another file, no link but a
plain one, and no filter that HDF5 would have to load a library for.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.formats.pickled_literals import NotLiteralError, read_literal

__all__ = ["HdfTable", "HdfTableError", "read_hdf_table"]

LARGEST_BYTES = 2**32
"""Of one array; a few bytes of a file can ask for any amount of memory."""
LARGEST_ATTRIBUTE = 2**24
LARGEST_COUNT = 100
"""Levels of names, and blocks of numbers of one type."""
FILTERS = frozenset({1, 2, 3})
"""Deflate, shuffle and checksums, which are part of HDF5 itself."""

DAMAGED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    UnicodeError,
    ValueError,
)
"""What h5py raises for files that are damaged."""

Column = tuple[str, ...]


class HdfTableError(ModelError):
    """An HDF5 file that holds no table of pandas, or one that can't be read safely; the text is for people."""


@dataclass(frozen=True, eq=False)
class HdfTable:
    """A table as pandas holds it, of numbers alone."""

    levels: tuple[str, ...]
    """Names of the levels of the columns' names, such as scorer, bodyparts and coords."""
    columns: list[Column]
    """Names of the columns, one for each level."""
    index: list[tuple[Any, ...]]
    """Name of each row: text or a number, one for each level."""
    values: NDArray[np.float64]
    """(rows, columns) float64."""


def read_hdf_table(path: Path) -> HdfTable:
    """Read the one table of an HDF5 file.

    Raises
    ------
    HdfTableError
        The file can't be read, is no table of pandas, or has anything in it that can't be read without risk.
    """
    import h5py

    if not path.is_file():
        raise HdfTableError(f"{path} can't be read: there is no such file.")
    try:
        with h5py.File(path, "r") as file:
            root = _Group(file.id)
            tables = [
                group for group in map(root.group, root.names()) if group is not None and group.has("pandas_type")
            ]
            if len(tables) != 1:
                raise HdfTableError(f"it holds {len(tables)} tables of pandas, not one")
            return _read_fixed(tables[0]) if tables[0].text("pandas_type") == "frame" else _read_table(tables[0])
    except (HdfTableError, NotLiteralError) as error:
        raise HdfTableError(f"{path} can't be read: {error}.") from error
    except DAMAGED as error:
        problem = " ".join(str(error).split())
        raise HdfTableError(f"{path} can't be read: {problem}. Copy it again.") from error


class _Node:
    """A group or a dataset, of which attributes are read."""

    def __init__(self, identifier: Any) -> None:
        self._id = identifier

    def has(self, name: str) -> bool:
        """Whether there is an attribute of this name."""
        import h5py

        return bool(h5py.h5a.exists(self._id, name.encode()))

    def attribute(self, name: str) -> NDArray[Any]:
        """Give an attribute: numbers, or bytes of a fixed length."""
        import h5py

        found = h5py.h5a.open(self._id, name.encode())
        _check_type(found.get_type(), f"the attribute {name}")
        array = np.zeros(found.shape, found.dtype)
        if array.nbytes > LARGEST_ATTRIBUTE:
            raise HdfTableError(f"the attribute {name} has {array.nbytes:,} bytes")
        if array.size:  # of length 0 where it is a text without letters
            found.read(array)
        return array

    def pickled(self, name: str) -> bytes:
        """Give the bytes of an attribute that PyTables has pickled, as they are."""
        return bytes(self.attribute(name).item())

    def text(self, name: str) -> str:
        """Give an attribute that is text; PyTables pickles None and text that is not in ASCII."""
        content = self.pickled(name)
        value = read_literal(content) if content.endswith(b".") else content
        return value.decode() if isinstance(value, bytes) else str(value)


class _Array(_Node):
    """A dataset."""

    def read(self) -> NDArray[Any]:
        """Give its numbers or texts, after a look at where and how they lie."""
        import h5py

        _check_type(self._id.get_type(), "a table")
        storage = self._id.get_create_plist()
        if storage.get_layout() == h5py.h5d.VIRTUAL or storage.get_external_count():
            raise HdfTableError("its numbers lie in another file")
        filters = {storage.get_filter(number)[0] for number in range(storage.get_nfilters())}
        if filters - FILTERS:
            raise HdfTableError(f"it is compressed in a way that is not read here (filter {min(filters - FILTERS)})")
        size = math.prod(self._id.shape) * self._id.get_type().get_size()
        if size > LARGEST_BYTES:
            raise HdfTableError(f"it says that it has {size:,} bytes")
        array = np.zeros(self._id.shape, self._id.dtype)
        if array.size:
            self._id.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
        # so PyTables marks what pandas turned before it wrote it
        return array.T if self.has("transposed") and self.attribute("transposed").item() else array


class _Group(_Node):
    """A group, of which only what hangs on plain links is seen."""

    def names(self) -> list[str]:
        """Names of what is in it."""
        return [name.decode() for name in self._id]

    def group(self, name: str) -> "_Group | None":
        """Give a group in it; None where it is something else."""
        import h5py

        found = self._open(name)
        return _Group(found) if isinstance(found, h5py.h5g.GroupID) else None

    def array(self, name: str) -> _Array:
        """Give a dataset in it."""
        import h5py

        found = self._open(name)
        if not isinstance(found, h5py.h5d.DatasetID):
            raise HdfTableError(f"{name} is no array of numbers or text")
        return _Array(found)

    def _open(self, name: str) -> Any:
        import h5py

        link = name.encode()
        if self._id.links.get_info(link).type != h5py.h5l.TYPE_HARD:
            raise HdfTableError(f"{name} is a link to somewhere else")
        return h5py.h5o.open(self._id, link)


def _check_type(found: Any, what: str) -> None:
    """Refuse a type whose values could be anything but numbers and text of a fixed length."""
    import h5py

    kind = found.get_class()
    if kind == h5py.h5t.COMPOUND:
        for number in range(found.get_nmembers()):
            _check_type(found.get_member_type(number), what)
    elif kind == h5py.h5t.ARRAY:
        _check_type(found.get_super(), what)
    elif kind not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.BITFIELD) and not (
        kind == h5py.h5t.STRING and not found.is_variable_str()
    ):
        raise HdfTableError(f"{what} holds neither numbers nor plain text, such as a pickled object")


# `fixed`: names of columns and rows as arrays of their own, and a block of numbers for each type of number.


def _read_fixed(group: _Group) -> HdfTable:
    levels, columns = _fixed_names(group, "axis0")
    _, index = _fixed_names(group, "axis1")
    blocks = []
    for number in range(_count(group, "nblocks")):
        _, names = _fixed_names(group, f"block{number}_items")
        # pandas keeps a block turned, one row for each column
        blocks.append((names, group.array(f"block{number}_values").read().T))
    return _table(levels, columns, index, blocks)


def _fixed_names(group: _Group, axis: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Names of an axis, and the names of their levels."""
    if group.text(f"{axis}_variety") != "multi":
        node = group.array(axis)
        return (node.text("name"),), [(name,) for name in _plain(node.read())]
    levels, parts = [], []
    for number in range(_count(group, f"{axis}_nlevels")):
        node = group.array(f"{axis}_level{number}")
        # where there is no name, that of the code -1, pandas takes the last
        names = [*_plain(node.read()), math.nan]
        codes = group.array(f"{axis}_label{number}").read()
        if codes.dtype.kind != "i" or ((codes < -1) | (codes >= len(names) - 1)).any():
            raise HdfTableError(f"the names of {axis} are damaged")
        levels.append(node.text("name"))
        parts.append([names[code] for code in codes.tolist()])
    return tuple(levels), list(zip(*parts, strict=True))


# `table`: rows of a compound type; the names of the columns stand in pickled lists.


def _read_table(group: _Group) -> HdfTable:
    if group.text("table_type") != "appendable_frame":
        raise HdfTableError(f"it is a table of another kind ({group.text('table_type')})")
    [(_, columns)] = read_literal(group.pickled("non_index_axes"))
    levels = read_literal(group.pickled("info")).get(1, {}).get("names", [])
    table = group.array("table")
    rows = table.read()
    blocks = []
    for name in read_literal(group.pickled("values_cols")):
        blocks.append((read_literal(table.pickled(f"{name}_kind")), rows[name].reshape(len(rows), -1)))
    index = [(name,) for name in _plain(rows["index"])]
    return _table(tuple(map(str, levels)), columns, index, blocks)


def _table(
    levels: tuple[str, ...], columns: Any, index: list[tuple[Any, ...]], blocks: list[tuple[Any, NDArray[Any]]]
) -> HdfTable:
    """Put blocks together, each of some columns, in the order of the columns."""
    values = np.full((len(index), len(columns)), np.nan)
    places = {_column(column): place for place, column in enumerate(columns)}
    filled: set[int] = set()
    for names, block in blocks:
        if block.shape != (len(index), len(names)) or block.dtype.kind not in "iuf":
            raise HdfTableError(f"it holds {block.dtype} in the shape {block.shape} where numbers should be")
        for number, name in enumerate(names):
            values[:, places[_column(name)]] = block[:, number]
            filled.add(places[_column(name)])
    if len(places) != len(columns) or len(filled) != len(columns):
        raise HdfTableError("it does not have one array for each of its columns")
    return HdfTable(levels, list(places), index, values)


def _column(name: Any) -> Column:
    parts = name if isinstance(name, tuple) else (name,)
    if not all(isinstance(part, str) for part in parts):
        raise HdfTableError("the names of its columns are no text")
    return parts


def _count(group: _Group, name: str) -> int:
    number = int(group.attribute(name).item())
    if not 0 <= number <= LARGEST_COUNT:
        raise HdfTableError(f"{name} is {number}")
    return number


def _plain(array: NDArray[Any]) -> list[Any]:
    """Names as Python has them."""
    return [name.decode() if isinstance(name, bytes) else name for name in array.ravel().tolist()]
