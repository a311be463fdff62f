"""The backend `aravis` with an emulator that loses packets, or goes away."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posestream.acquisition.camera import CameraError, create_camera
from posestream.acquisition.device_ids import DeviceIds

from .aravis_emulator import FIRST_ID, emulator, own_serial
from .camera_contract import read_frame

SMALL = {"width": 160, "height": 120, "rate_hz": 200.0}


class Watched:
    """Aravis's stream, with a look at what it hands out."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.handed_out: list[tuple[int, str]] = []

    def timeout_pop_buffer(self, timeout_us: int) -> Any:
        if (buffer := self.stream.timeout_pop_buffer(timeout_us)) is not None:
            self.handed_out.append((buffer.get_frame_id(), buffer.get_status().value_nick))
        return buffer

    def push_buffer(self, buffer: Any) -> None:
        self.stream.push_buffer(buffer)

    def counts(self) -> dict[str, int]:
        return {self.stream.get_info_name(n): self.stream.get_info_uint64(n) for n in range(self.stream.get_n_infos())}


def test_every_incomplete_frame_is_a_lost_id_across_the_wrap() -> None:
    """5 packets in a thousand are lost, of 16 that make up a frame; the emulator does not send them again."""
    name, ids, out = own_serial("LOSSY"), DeviceIds((1, 65_535)), np.empty((120, 160, 1), np.uint8)
    delivered: list[int] = []
    lost: list[int] = []
    with emulator(name, lost_per_thousand=5):
        camera = create_camera("top", "aravis", {"serial": name} | SMALL, Path())
        camera_format = camera.open()
        camera.start()
        watched = camera._stream = Watched(camera._stream)  # type: ignore[attr-defined]  # noqa: SLF001 - counts what the library hands out

        def take(timeout_s: float) -> bool:
            if (capture := camera.read(out, timeout_s)) is None:
                return False
            seen = ids.see(capture.device_id)
            assert seen.note == ""
            lost.extend(seen.lost)
            assert seen.device_id is not None
            delivered.append(seen.device_id)
            return True

        while len(delivered) < 600:
            assert take(5.0)
        camera._camera.stop_acquisition()  # type: ignore[attr-defined]  # noqa: SLF001 - and reads on
        while take(0.5):
            pass
        counts = watched.counts()
        del watched.stream
        camera.stop()
    assert camera_format.device_ids == (1, 65_535)
    assert delivered[-1] > 65_535 > delivered[0]
    assert sorted(delivered + lost) == list(range(delivered[0], delivered[-1] + 1))
    whole = {frame_id for frame_id, state in watched.handed_out if state == "success"}
    incomplete = [frame_id for frame_id, state in watched.handed_out if state != "success"]
    assert len(incomplete) == counts["n_failures"] > 10
    assert len(delivered) == len(whole) == counts["n_completed_buffers"]
    assert counts["n_missing_frames"] == 0  # with 16 packets to a frame, some always came
    # The ids do not show what was lost before the first and after the last that was delivered
    after_the_last = counts["n_failures"] - len(lost) - (delivered[0] - FIRST_ID)
    assert 0 <= after_the_last <= 4  # one frame in twelve is incomplete
    # A buffer whose frame lost its first packet still says the number of the frame that it held before, first 0
    known = {number if number >= FIRST_ID else number + 65_535 for number in set(incomplete) - whole - {0}}
    assert {number for number in known if delivered[0] < number < delivered[-1]} <= set(lost)


def test_a_camera_that_is_gone_is_lost() -> None:
    name, out = own_serial("GONE"), np.empty((120, 160, 1), np.uint8)
    with emulator(name) as process:
        camera = create_camera("top", "aravis", {"serial": name} | SMALL, Path())
        camera.open()
        camera.start()
        read_frame(camera, out)
        process.kill()
        while camera.read(out, 0.3) is not None:  # what had arrived before
            pass
        with pytest.raises(CameraError, match=f"{name}: lost"):
            read_frame(camera, out, 30)
        camera.stop()
        with pytest.raises(CameraError, match="no camera with serial"):
            camera.open()
