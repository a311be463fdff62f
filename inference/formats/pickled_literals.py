"""Reads lists of names out of a pickle without unpickling it.

PyTables pickles what HDF5 has no type for, and so pandas keeps the names of a table's columns as a pickled list. A
pickle is a program, and running one from a stranger runs whatever the stranger likes. So it is taken apart into its
operations (`pickletools`, which executes nothing), and only those are followed that make lists, tuples, dictionaries,
text, numbers and None; all others, first of all those that look up and call something, are refused.
"""

import pickletools
from collections.abc import Callable
from typing import Any

__all__ = ["NotLiteralError", "read_literal"]

LARGEST_BYTES = 2**24
"""Of a pickle; the names of a network's body parts take a few thousand."""

VALUES = frozenset(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 NONE NEWTRUE NEWFALSE FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
    UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
    """.split()  # noqa: SIM905 - one a line otherwise
)
"""Operations that put one plain value on the stack; None, True and False come without an argument."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
STORE = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
RECALL = frozenset({"GET", "BINGET", "LONG_BINGET"})
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = frozenset({"PROTO", "FRAME"})


class NotLiteralError(Exception):
    """A pickle that is damaged, or that does more than to list plain values; the text is for people."""


def read_literal(pickled: bytes) -> Any:
    """Give the value of a pickle that is made of lists, tuples, dictionaries, text, numbers and None alone.

    Raises
    ------
    NotLiteralError
        It is damaged, too large, or holds anything else. Nothing of it was executed.
    """
    if len(pickled) > LARGEST_BYTES:
        raise NotLiteralError(f"a pickle of {len(pickled):,} bytes is too large for a list of names")
    machine = _Machine()
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name == "STOP":
                return machine.result()
            machine.follow(operation.name, argument)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise NotLiteralError(f"a pickle is damaged: {error}") from error
    raise NotLiteralError("a pickle is damaged: it has no end")


class _Machine:
    """Stack, marks and memo of a pickle that is being followed."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._builders: dict[str, Callable[[], None]] = {
            "MARK": lambda: self._marks.append(len(self._stack)),
            "EMPTY_LIST": lambda: self._stack.append([]),
            "EMPTY_DICT": lambda: self._stack.append({}),
            "LIST": lambda: self._stack.append(self._from_mark()),
            "TUPLE": lambda: self._stack.append(tuple(self._from_mark())),
            "DICT": lambda: self._stack.append(_pairs(self._from_mark())),
            "APPEND": lambda: self._extend([self._stack.pop()]),
            "APPENDS": lambda: self._extend(self._from_mark()),
            "SETITEM": self._set_item,
            "SETITEMS": lambda: self._update(self._from_mark()),
        }

    def follow(self, name: str, argument: Any) -> None:
        """Do one operation."""
        if name in VALUES:
            self._stack.append(CONSTANTS.get(name, argument))
        elif name in STORE:
            self._memo[len(self._memo) if argument is None else int(argument)] = self._stack[-1]
        elif name in RECALL:
            self._stack.append(self._memo[int(argument)])
        elif name in TUPLES:
            begin = len(self._stack) - TUPLES[name]
            if begin < 0:
                raise ValueError("it makes a tuple of nothing")
            self._stack[begin:] = [tuple(self._stack[begin:])]
        elif name in self._builders:
            self._builders[name]()
        elif name not in IGNORED:
            raise NotLiteralError(f"a pickle holds more than plain values ({name}), and was not run")

    def result(self) -> Any:
        if len(self._stack) != 1:
            raise ValueError("it leaves more than one value")
        return self._stack[0]

    def _from_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items, self._stack[mark:] = self._stack[mark:], []
        return items

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise TypeError("it appends to what is no list")
        self._stack[-1].extend(items)

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _update(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise TypeError("it sets an item of what is no dictionary")
        self._stack[-1].update(_pairs(items))


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[0::2], items[1::2], strict=True))
