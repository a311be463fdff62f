"""The program for GPUs in a short form, on the processor."""

import csv
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from ..support.networks import random_network

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.timeout(400)
def test_the_network_is_measured_on_jax_and_agrees_with_float32(tmp_path) -> None:
    if find_spec("jax") is None:
        pytest.skip("jax is not installed")
    random_network("student_small").save(tmp_path / "bundle")
    grid = ["--sizes", "115x87", "--batches", "1,2", "--precisions", "bfloat16,float32", "--most-frames", "2"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    short = [*grid, "--run-seconds", "0.01"]
    command = [sys.executable, PROGRAM, tmp_path / "bundle", *short, "--output", tmp_path / "rows.csv"]
    done = subprocess.run(command, env=environment, check=True, timeout=380, capture_output=True, text=True)
    assert "| 115x87 | 2 | float32 |" in " ".join(done.stdout.split())
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert [(row["batch"], row["precision"]) for row in rows] == [
        ("1", "bfloat16"),
        ("1", "float32"),
        ("2", "bfloat16"),
        ("2", "float32"),
    ]
    assert all(float(row["largest px"]) < 0.01 for row in rows[1::2])
    assert all(float(row["in a row, frames/s"]) > 0 for row in rows)
