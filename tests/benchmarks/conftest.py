import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Give a program under `benchmarks/` as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module
