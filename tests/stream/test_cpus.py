"""Processes that are kept to cores, as the rig says."""

import json
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import ARENA, children_of

pytestmark = pytest.mark.timeout(180)
ON_A_CORE = ARENA + "cpus = [{core}]\n"


@pytest.mark.skipif(not hasattr(psutil.Process, "cpu_affinity"), reason="this system has no such thing")
def test_processes_with_all_their_threads_are_kept_to_the_cores_of_the_rig(posestream, rig, random_model) -> None:
    core = psutil.Process().cpu_affinity()[-1]
    model = f"[inference]\nmodel = {json.dumps(str(random_model))}\ncpus = [{core}]\n"
    run = posestream("run", rig(ON_A_CORE.format(core=core) + model), "--seconds", 5, "--json")
    run.until_rows(5, "top/poses.csv")
    children = children_of(run.process.pid)
    if sys.platform == "linux":
        import os

        for process in ("acquisition:top", "inference"):
            threads = psutil.Process(children[process]).threads()
            assert len(threads) > 3
            assert [os.sched_getaffinity(thread.id) for thread in threads] == [{core}] * len(threads)
    summary = run.summary(0)
    session = json.loads((Path(summary["folder"]) / "session.json").read_text())
    assert session["cameras"]["top"]["cpus"] == session["inference"]["cpus"] == [core]
    assert session["inference"]["threads"] == 1


def test_a_core_that_is_not_there_is_named_before_anything_is_opened(posestream, rig, tmp_path) -> None:
    status, _, err = posestream("run", rig(ON_A_CORE.format(core=4096))).end()
    assert status == 2
    if hasattr(psutil.Process, "cpu_affinity"):
        assert "cameras.top.cpus = [4096]: there is no core 4096 here; this machine lets posestream have core" in err
    else:
        assert "cameras.top.cpus: on this system" in err
    assert not (tmp_path / "out").exists()
