"""What is wrong with a table of a person's file, in words: which key, which value, and what would do."""

from typing import Annotated, Any, get_args, get_origin

import pydantic

from posestream.stream.tables import table_models
from posestream.stream.wire.wording import as_toml, near, wrong_value

__all__ = ["explain_errors"]


def explain_errors(error: pydantic.ValidationError, root: type[Any], place: str = "") -> list[str]:
    """Give a line for each key or value that can't be used.

    Parameters
    ----------
    error
        What pydantic found.
    root
        The type that it checked: a model, or a struct that stands as a table.
    place
        What stands before its keys in the file, such as `cameras.top.recording.`.
    """
    return [_explain(dict(problem), root, place) for problem in error.errors()]


def _explain(problem: dict[str, Any], root: type[Any], place: str) -> str:
    path = tuple(str(step) for step in problem["loc"] if step != "[key]")
    key = place + ".".join(path)
    match problem["type"]:
        case "extra_forbidden":
            known = list(next(table_models(_type_at(root, path[:-1])[0])).model_fields)
            others = f"; there are: {', '.join(known)}"
            return f"{key}: unknown key{near(path[-1], known) or others}"
        case "missing" | "too_short" if key == "cameras":
            return "cameras: no camera; add a table such as [cameras.top]"
        case "missing":
            return f"{key}: missing"
        case "value_error":
            return f"{key} = {as_toml(problem['input'])}: {problem['ctx']['error']}"
    return wrong_value(key, problem["input"], *_type_at(root, path))


def _type_at(root: type[Any], path: tuple[str, ...]) -> tuple[Any, list[Any]]:
    """Give the type of what stands at a key, and what is annotated beside it."""
    kind: Any = root
    bounds: list[Any] = []
    for step in path:
        models = list(table_models(kind))
        if models and step in models[0].model_fields and not _is_container(kind):
            field = models[0].model_fields[step]
            kind, bounds = field.annotation, list(field.metadata)
        else:  # within a list or a table of any keys
            kind, bounds = _inside(kind), []
    return kind, bounds


def _is_container(kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Annotated:
        return _is_container(get_args(kind)[0])
    return origin in (list, dict)


def _inside(kind: Any) -> Any:
    """Give the type of a list's or a table's values."""
    for part in (kind, *get_args(kind)):
        whole = get_args(part)[0] if get_origin(part) is Annotated else part
        if get_origin(whole) in (list, dict):
            return get_args(whole)[-1]
    return kind
