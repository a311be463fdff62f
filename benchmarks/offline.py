"""`posestream analyze` against DeepLabCut 2.3's `analyze_videos`, from start to file.

    python benchmarks/offline.py VIDEO --project PROJECT --against PYTHON [--int8 BUNDLE] [--rounds 3] [--batch 8]

PROJECT is a DeepLabCut 2 project with a trained network (it is copied), PYTHON that of an environment with DeepLabCut
2.3. Every round starts each program anew, in another order, so that a busy machine is busy for all: read ratios.
Loading the network is in all times. In the first round posestream also converts the network for OpenVINO, as it does
once for each network: that round has a column of its own, and the median is of the others, unless it is the only one.
`decoding` is the time that reading the video takes alone, by the time of the whole. It runs beside the network, so it
is not the bottleneck where it is far below 100 %. Poses are compared with DeepLabCut's where both are over 0.6.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import yaml
from report import markdown

from posestream.inference.formats.hdf_tables import read_hdf_table
from posestream.inference.offline.video_reader import VideoReader

CONFIDENT = 0.6
DEEPLABCUT = """
import sys
import deeplabcut
config, video, folder, batch = sys.argv[1:]
deeplabcut.analyze_videos(config, [video], destfolder=folder, batchsize=int(batch))
"""
OURS = "from posestream.stream.cli import main; main()"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "DLClight": "True", "MPLBACKEND": "Agg"}


def copied(project: Path, where: Path) -> Path:
    """Copy what a project's network consists of; give its config.yaml, which names its new place."""
    shutil.copytree(project, where, ignore=shutil.ignore_patterns("videos", "labeled-data"))
    config = where / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**settings, "project_path": str(where)}))
    return config


def commands(given: argparse.Namespace, config: Path) -> dict[str, list[str]]:
    """Give each way's command, without the folder of its results."""
    network = given.model or next(config.parent.glob("dlc-models/*/*/train"))
    batch = ["--batch-size", str(given.batch)]
    ours = [sys.executable, "-c", OURS, "analyze", str(given.video), *batch, "--json", "--model"]
    window = ["--window", str(given.window)]
    ways = {
        "DeepLabCut": [str(given.against), "-c", DEEPLABCUT, str(config), str(given.video)],
        "float32": [*ours, str(network), "--precision", "float32"],
        "bfloat16": [*ours, str(network), "--precision", "bfloat16"],
        f"bfloat16, window {given.window}": [*ours, str(network), "--precision", "bfloat16", *window],
    }
    if given.int8 is not None:
        ways["int8"] = [*ours, str(given.int8), "--precision", "int8"]
        ways[f"int8, window {given.window}"] = [*ours, str(given.int8), "--precision", "int8", *window]
    return ways


def run_once(way: str, command: list[str], folder: Path, batch: int, cache: Path) -> tuple[float, pd.DataFrame]:
    """Run one program into an empty folder; give its seconds and its poses."""
    behind = [str(folder), str(batch)] if way == "DeepLabCut" else ["--output", str(folder)]
    environment = {**os.environ, **QUIET, "POSESTREAM_CACHE": str(cache)}
    began = time.perf_counter()
    done = subprocess.run([*command, *behind], env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    files = sorted(folder.glob("*.h5"))
    if done.returncode or not files:
        raise SystemExit(f"{way} ended with {done.returncode} and left {len(files)} files:\n{done.stdout}{done.stderr}")
    table = read_hdf_table(files[0])
    columns = pd.MultiIndex.from_tuples(table.columns, names=table.levels)
    return seconds, pd.DataFrame(table.values, columns=columns)


def decoding_s(video: Path) -> tuple[float, int]:
    """Give the seconds that reading a video takes, and its frames."""
    began = time.perf_counter()
    with VideoReader(video) as reader:
        frames = sum(1 for _ in reader.frames())
    return time.perf_counter() - began, frames


def apart(poses: pd.DataFrame, reference: pd.DataFrame) -> dict[str, str]:
    """Say how far poses lie from the reference, both as DeepLabCut's tables have them."""
    ours, theirs = (table.to_numpy().reshape(len(table), -1, 3) for table in (poses, reference))
    both = (ours[..., 2] > CONFIDENT) & (theirs[..., 2] > CONFIDENT)
    px = np.hypot(*np.moveaxis(ours[..., :2] - theirs[..., :2], -1, 0))[both]
    share = f"{both.mean():.0%}"
    if not px.size:
        return {"confident": share, "mean px": "", "largest px": ""}
    return {"confident": share, "mean px": f"{px.mean():.4f}", "largest px": f"{px.max():.3f}"}


def rounds(given: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """Run all alternately; give the rows of the table."""
    ways = commands(given, copied(given.project, scratch / "project"))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    poses: dict[str, pd.DataFrame] = {}
    reading: list[float] = []
    shuffled = random.Random(0)  # noqa: S311  # an order, not a secret
    for number in range(given.rounds):
        order = shuffled.sample(list(ways), len(ways))
        for way in order:
            folder = scratch / f"{number}-{order.index(way)}"
            folder.mkdir()
            taken, poses[way] = run_once(way, ways[way], folder, given.batch, scratch / "cache")
            seconds[way].append(taken)
            print(f"round {number + 1}, {way}: {taken:.1f} s", file=sys.stderr, flush=True)
        alone, frames = decoding_s(given.video)
        reading.append(alone)
    middle = {way: median(taken[1:] or taken) for way, taken in seconds.items()}
    return [
        {
            "program": way,
            "frames": frames,
            "first, s": f"{seconds[way][0]:.1f}",
            "median, s": f"{middle[way]:.1f}",
            "frames/s": f"{frames / middle[way]:.1f}",
            "times DeepLabCut": f"{middle['DeepLabCut'] / middle[way]:.2f}",
            "decoding": "" if way == "DeepLabCut" else f"{median(reading) / middle[way]:.0%}",
            **apart(poses[way], poses["DeepLabCut"]),
        }
        for way in ways
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--against", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("--model", type=Path, help="another form of the project's network; its train folder by default")
    parser.add_argument("--int8", type=Path, metavar="BUNDLE", help="the same network, optimised")
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    given.video = given.video.absolute()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        print(markdown(rounds(given, Path(scratch))))


if __name__ == "__main__":
    main()
