"""A GigE Vision camera over real UDP: the emulator that comes with Aravis (Debian: `aravis-tools`)."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

EMULATOR = "arv-fake-gv-camera-0.8"
FIRST_ID = 65_401
"""The emulator's first frame; so its ids begin again at 1 after 135 frames."""
GVCP_PORT = 3956


def need_aravis() -> Any:
    """Give the library, or skip."""
    try:
        from posestream.acquisition.backends.aravis_library import Aravis
    except ImportError as error:
        pytest.skip(f"Aravis is not installed: {error}")
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"Aravis is not installed: there is no {EMULATOR}")
    return Aravis


@contextmanager
def emulator(serial: str, lost_per_thousand: float = 0.0) -> Iterator[subprocess.Popen[bytes]]:
    """Run the emulator until it answers; there can be one at an address."""
    aravis = need_aravis()
    _wait_for_port()
    command = [EMULATOR, "-i", "127.0.0.1", "-s", serial, "-r", str(lost_per_thousand)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while f"Aravis-Fake-{serial}" not in _ids(aravis):
            assert process.poll() is None, f"{EMULATOR} ended with status {process.returncode}"
            assert time.monotonic() < deadline, f"{EMULATOR} does not answer"
        yield process
    finally:
        process.kill()
        process.wait()


def own_serial(name: str) -> str:
    """A serial number that no other test run on this machine has."""
    return f"{name}{os.getpid() % 100_000}"


def _ids(aravis: Any) -> list[str]:
    aravis.update_device_list()  # takes a second
    return [aravis.get_device_id(index) for index in range(aravis.get_n_devices())]


def _wait_for_port() -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                udp.bind(("127.0.0.1", GVCP_PORT))
                return
            except OSError:
                assert time.monotonic() < deadline, "another program has the port of GigE Vision cameras"
        time.sleep(0.2)
