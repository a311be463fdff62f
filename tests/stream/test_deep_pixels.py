"""A whole run with pixels of 12 bits."""

import json
from pathlib import Path

import av
import numpy as np

from posestream.stream.session.verify import verify_session
from posestream.stream.subscribers import FrameSubscriber

from ..conftest import REPOSITORY
from .conftest import free_endpoint

SMALL = {"width": 96, "height": 64, "rate_hz": 50.0, "seed": 3}


def test_the_video_keeps_twelve_bits_and_subscribers_see_eight(posestream) -> None:
    endpoint = free_endpoint()
    changes = SMALL | {"endpoint": f'"{endpoint}"'}
    options = [part for key, value in changes.items() for part in ("--set", f"cameras.top.{key}={value}")]
    run = posestream("run", REPOSITORY / "examples" / "deep_pixels.toml", *options, "--seconds", 3, "--json")
    with FrameSubscriber(endpoint, mode="every", timeout_s=60) as frames:
        published = {frame.header.frame_seq: np.array(frame.pixels) for frame in frames}
    folder = Path(run.summary(0)["folder"])
    assert verify_session(folder)["problems"] == []
    details = json.loads((folder / "session.json").read_text())["cameras"]["top"]
    assert (details["bits"], details["levels"]) == (12, [100, 4000])
    with av.open(str(folder / "top" / "video.mkv")) as container:
        recorded = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(published) > 20
    assert max(picture.max() for picture in recorded) > 2_000
    for seq, pixels in published.items():
        scaled = np.clip((recorded[seq].astype(float) - 100) * 255 / 3_900, 0, 255)
        assert pixels.dtype == np.uint8
        assert np.abs(pixels[..., 0] - scaled).max() <= 0.5001
