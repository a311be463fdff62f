"""What the package imports is what pyproject.toml declares; an extra's libraries stand where they may be absent."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

REPOSITORY = Path(__file__).parent.parent
ROOMS = ("acquisition", "inference", "stream")

PROJECTS = {"cv2": "opencv-python-headless", "gi": "pygobject", "google": "protobuf", "yaml": "pyyaml", "zmq": "pyzmq"}
"""Projects whose name is not that of the module."""
ELSEWHERE = {"dlclive"}
"""Imported by `inference/bench/peer_worker.py` alone, which runs in the environment of DeepLabCut-Live."""
USED_BY_OTHERS = {"tables"}
"""Ordinary requirements that pandas imports, but does not require, for what posestream does with them."""
OF_LABS_TESTS = "acquisition/contract.py"
"""Labs inherit its tests, so it imports pytest as they do."""


class Import(NamedTuple):
    file: str
    line: int
    module: str
    """The first part of its name."""
    may_fail: bool
    """Whether it stands in a function, or in a `try` that catches an `ImportError`."""


def third_party_imports() -> list[Import]:
    paths = sorted(path for room in ROOMS for path in (REPOSITORY / room).rglob("*.py"))
    ours = {"posestream", *sys.stdlib_module_names}
    return [found for path in paths for found in imports(path) if found.module not in ours]


def imports(path: Path) -> Iterator[Import]:
    file = path.relative_to(REPOSITORY).as_posix()

    def walk(node: ast.AST, may_fail: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                names = [module]
            case _:
                names = []
        for name in names:
            yield Import(file, getattr(node, "lineno", 0), name.partition(".")[0], may_fail)
        inside = may_fail or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            caught = isinstance(node, ast.Try) and child in node.body and any(map(catches_import_error, node.handlers))
            yield from walk(child, inside or caught)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), may_fail=False)


def catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = ast.walk(handler.type) if handler.type is not None else ()
    return any(isinstance(name, ast.Name) and name.id in {"ImportError", "ModuleNotFoundError"} for name in caught)


def project_of(module: str) -> str:
    return PROJECTS.get(module, module.lower().replace("_", "-"))


def named(requirements: list[str]) -> set[str]:
    names = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    return {name[0].lower().replace("_", "-") for name in names if name is not None}


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


@pytest.fixture(scope="module")
def ordinary(declared: dict[str, Any]) -> set[str]:
    return named(declared["dependencies"])


def test_every_import_is_declared(declared: dict[str, Any], ordinary: set[str]) -> None:
    extras = declared["optional-dependencies"]
    installable = ordinary.union(*(named(extra) for name, extra in extras.items() if name not in {"test", "dev"}))
    found = third_party_imports()
    assert {"numpy", "keras", "gi"} <= {one.module for one in found}, "the walk finds imports of every kind"
    undeclared = [
        one
        for one in found
        if project_of(one.module) not in installable
        and one.module not in ELSEWHERE
        and (one.file, one.module) != (OF_LABS_TESTS, "pytest")
    ]
    assert undeclared == []


def test_what_an_extra_brings_is_imported_where_it_may_be_absent(ordinary: set[str]) -> None:
    unguarded = [
        one
        for one in third_party_imports()
        if project_of(one.module) not in ordinary and not one.may_fail and one.file != OF_LABS_TESTS
    ]
    assert unguarded == []


def test_every_ordinary_requirement_is_used(ordinary: set[str]) -> None:
    used = {project_of(one.module) for one in third_party_imports()}
    assert ordinary - used == USED_BY_OTHERS
