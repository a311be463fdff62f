"""How a key or value that can't be used is told to people, the same wherever it is found.

The rig's own tables are pydantic models and the cameras' settings msgspec structs; both are described from their types.
"""

import difflib
import math
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

__all__ = ["as_toml", "expected", "near", "quoted", "wrong_value"]

PLAIN = {bool: "true or false", str: "text in quotes", Path: "a path in quotes", type(None): ""}
NUMBERS = {int: "a whole number", float: "a number"}
LISTS = (list, tuple, set, frozenset)


def near(word: str, words: Iterable[str]) -> str:
    """Give ` (did you mean "..."?)` for the likest of some words, or nothing where none is like it."""
    match = difflib.get_close_matches(word, list(words), n=1)
    return f' (did you mean "{match[0]}"?)' if match else ""


def quoted(word: object) -> str:
    """Write a path or word as a command line takes it: in quotes where it has to be."""
    text = str(word)
    return f'"{text}"' if not text or set(text) & set(" ()&;'$<>|*?") else text


def as_toml(value: Any) -> str:
    """Write a value as it stands in a rig file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {as_toml(inner)}" for key, inner in value.items()) + " }" if value else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_toml, value))}]"
    return repr(value)


def wrong_value(key: str, value: Any, kind: Any, bounds: Iterable[Any] = ()) -> str:
    """Say which value can't be used and what would do.

    Parameters
    ----------
    key
        Where it stands, such as `cameras.top.width`.
    value
        What stands there.
    kind
        The type that it should have, as an annotation.
    bounds
        What is annotated beside the type (`msgspec.Meta`, pydantic's `Field`, or annotated_types).
    """
    what = expected(kind, bounds)
    choices = [choice for choice in _choices(kind) if isinstance(choice, str)]
    hint = near(value, choices) if isinstance(value, str) else ""
    if isinstance(value, str) and "number" in what and not hint and _is_number(value):
        hint = "; write it without quotes"
    return f"{key} = {as_toml(value)}: must be {what}{hint}"


def expected(kind: Any, bounds: Iterable[Any] = ()) -> str:
    """Say in words which values a type takes: `a whole number from 1 to 16`, `"auto" or a number above 0`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return expected(inner[0], (*inner[1:], *bounds))
    if origin in (Union, types.UnionType):
        return " or ".join(filter(None, dict.fromkeys(expected(part, bounds) for part in inner)))
    if origin is Literal:
        words = [as_toml(choice) for choice in inner]
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    if origin in LISTS:
        return _list(inner, bounds)
    return f"{NUMBERS[kind]}{_range(bounds)}" if kind in NUMBERS else PLAIN.get(kind, "a table")


def _list(inner: tuple[Any, ...], bounds: Iterable[Any]) -> str:
    open_ended = len(inner) == 1 or Ellipsis in inner
    limits = _limits(bounds)
    least, most = limits.get("min_length"), limits.get("max_length")
    if not open_ended or (least is not None and least == most):
        count = f" of {least if open_ended else len(inner)} values"
    else:
        count = " of at least one value" if least == 1 else f" of at least {least} values" if least else ""
    each = ", ".join(dict.fromkeys(expected(part) for part in inner if part is not Ellipsis))
    return f"a list{count}" if each == "a table" else f"a list{count}, each {each}"


def _range(bounds: Iterable[Any]) -> str:
    limits = _limits(bounds)
    low = next((limits[name] for name in ("ge", "gt") if name in limits), None)
    high = next((limits[name] for name in ("le", "lt") if name in limits), None)
    step = f", a multiple of {limits['multiple_of']:g}" if "multiple_of" in limits else ""
    if "gt" in limits:
        return f" above {low:g}{f' and up to {high:.16g}' if high is not None else ''}{step}"
    if low is not None:
        return (f" from {low:g} to {high:.16g}" if high is not None else f" of {low:g} or more") + step
    return (f" of {high:.16g} or less" if high is not None else "") + step


def _limits(bounds: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for bound in bounds:
        for part in (bound, *getattr(bound, "metadata", ())):  # pydantic's Field keeps its bounds in there
            for name in ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length"):
                if (value := getattr(part, name, None)) is not None:
                    found[name] = value
    return found


def _choices(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    else:
        for part in get_args(kind):
            yield from _choices(part)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
