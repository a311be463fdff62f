"""Plug-ins that misbehave as they are told: a camera by its setting `fault`, an engine by `TROUBLE_ENGINE`."""

import os
from pathlib import Path

__all__ = ["install"]

PLUGINS = """
import os, sys, threading, time
import numpy as np
from posestream.acquisition.camera import CameraFormat, CameraSettings, Capture
from posestream.stream.wire.clock import monotonic_ns

def misbehave(fault):
    if fault == "exit":
        os._exit(3)
    if fault == "hang":
        time.sleep(600)
    if fault:
        raise getattr(__builtins__, fault, None) or __builtins__[fault]


class TroubleSettings(CameraSettings, frozen=True, kw_only=True):
    fault: str
    after: int = 20
    width: int = 640
    height: int = 480


class TroubleCamera:
    Settings = TroubleSettings

    def __init__(self, settings):
        self.where, _, self.fault = settings.fault.partition(":")
        self.after, self.count = settings.after, 0
        self.width, self.height = settings.width, settings.height

    def do(self, where):
        if where == self.where and (where != "read" or self.count >= self.after):
            misbehave(self.fault)

    def open(self):
        self.do("open")
        return CameraFormat(height=self.height, width=self.width, pixel_format="gray8", rate_hz=50.0)

    def start(self):
        self.do("start")
        if self.where == "thread":
            threading.Thread(target=misbehave, args=(self.fault,), name="vendor").start()

    def read(self, out, timeout_s):
        self.do("read")
        time.sleep(0.02)
        if self.where == "silent":
            return None
        out[:] = self.count % 256
        self.count += 1
        number = np.int64(self.count) if self.where == "numbers" and self.count > self.after else self.count
        return Capture(captured_ns=monotonic_ns(), device_id=number)

    def stop(self):
        self.do("stop")


class TroubleEngine:
    name, reason = "trouble", ""

    def __init__(self, bundle, precision, threads):
        self.precision, self.bodyparts = precision, bundle.spec.bodyparts
        self.fault = os.environ["TROUBLE_ENGINE"]
        self.count = 0

    @staticmethod
    def candidates(bundle):
        return ["float32"]

    def prepare(self, height, width, pixel_format, batch_sizes):
        if self.fault == "prepare":
            raise SystemExit(0)

    def run(self, frames, pixel_format=None):
        self.count += frames.std() < 70  # noise, on which engines are timed before the first frame, has 74
        poses = np.tile(np.float32([30.5, 20.25, 0.75]), (len(frames), len(self.bodyparts), 1))
        if self.count <= 5:
            return poses
        match self.fault:
            case "shape":
                return poses[:, 1:]
            case "few":
                return poses[1:]
            case "dtype":
                return poses.astype(np.float64)
            case "none":
                return None
            case "nan":
                poses[:, 0, 0] = np.nan
            case "inf":
                poses[:, 1, 1] = np.inf
            case "likelihood":
                poses[:, 2, 2] = 1.5
            case "slow":
                time.sleep(0.1)
            case fault:
                misbehave(fault)
        if self.count % 2:  # every other pose is sound
            poses[:] = np.float32([30.5, 20.25, 0.75])
        return poses
"""
ENTRY_POINTS = """
[posestream.cameras]
trouble = trouble_plugins:TroubleCamera
[posestream.engines]
trouble = trouble_plugins:TroubleEngine
"""


def install(site: Path) -> dict[str, str]:
    """Install them in a folder; gives the environment in which they are there."""
    (site / "trouble_plugins.py").write_text(PLUGINS)
    about = site / "trouble_plugins-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: trouble-plugins\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TROUBLE_ENGINE": ""}
