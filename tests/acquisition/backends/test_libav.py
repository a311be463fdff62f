"""The backend `av` on real streams: GStreamer's RTSP server, HTTP, FFmpeg's test pattern, a virtual screen."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from posestream.acquisition.backends.libav import LibavCamera, LibavSettings
from posestream.acquisition.backends.vocabulary import Trigger
from posestream.acquisition.camera import Camera, CameraError, Capture, EndOfStream, create_camera

from ...support.waiting import until
from ..camera_contract import CameraContract, buffer_for, read_frame

POSESTREAM = shutil.which("posestream", path=str(Path(sys.executable).parent)) or "posestream"
BITS = 10
PATTERN = "testsrc=size=64x48:rate=100,realtime"
DEBIAN_PYTHON = "/usr/bin/python3"  # GStreamer's Python modules belong to the system


def numbered(number: int) -> NDArray[np.uint8]:
    """A picture, 120x160, that shows a number as dark and light bars."""
    bars = np.array([220 if number >> bit & 1 else 30 for bit in range(BITS)], np.uint8)
    return np.broadcast_to(np.repeat(bars, 16), (120, 160)).copy()


def number_of(pixels: NDArray[np.uint8]) -> int:
    return sum(1 << bit for bit in range(BITS) if pixels[60, bit * 16 + 8].mean() > 125)


def write_numbered(path: Path, count: int, rate: int = 50) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = 0, 10
        stream.options = {"tune": "zerolatency"}
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(number), "gray")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_to_end(
    camera: LibavCamera, after: int = 0, then: Callable[[], object] = lambda: None, limit_s: float = 30.0
) -> tuple[list[tuple[Capture, int]], Exception]:
    """Read until the camera says why there is no more; gives the frames with the number that each shows.

    After so many frames something is done.
    """
    camera_format = camera.open()
    camera.start()
    frames: list[tuple[Capture, int]] = []
    out, end = buffer_for(camera_format), time.monotonic() + limit_s
    while time.monotonic() < end:
        before = time.monotonic()
        try:
            capture = camera.read(out, 0.1)
        except (CameraError, EndOfStream) as error:
            return frames, error
        assert time.monotonic() - before < 2
        if capture is not None:
            frames.append((capture, number_of(out)))
            if len(frames) == after:
                then()
    pytest.fail(f"neither end nor loss within {limit_s} s")


def assert_accounted(frames: list[tuple[Capture, int]]) -> None:
    """Whatever is missing among the numbers that the frames show is missing among their ids."""
    assert_rising(frames)
    for (earlier, shown), (later, shown_later) in pairwise(frames):
        assert shown_later - shown == (later.device_id or 0) - (earlier.device_id or 0)


def assert_rising(frames: list[tuple[Capture, int]]) -> None:
    """Frames come in the order in which they were taken, by what they show, their ids and their times."""
    for (earlier, shown), (later, shown_later) in pairwise(frames):
        assert shown_later > shown
        assert (later.device_id or 0) > (earlier.device_id or 0)
        assert later.captured_ns >= earlier.captured_ns
        assert (later.device_time or 0) > (earlier.device_time or 0)


@pytest.fixture(scope="session")
def _gstreamer() -> None:
    modules = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if not Path(DEBIAN_PYTHON).exists() or subprocess.run([DEBIAN_PYTHON, "-c", modules], check=False).returncode:
        pytest.skip("GStreamer's RTSP server is not installed: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi")


Serve = Callable[[Path], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def rtsp(_gstreamer: None) -> Iterator[Serve]:
    """Serve a video as a camera; gives the server and the address."""
    servers = []

    def serve(video: Path) -> tuple[subprocess.Popen[str], str]:
        script = Path(__file__).parents[1] / "rtsp_server.py"
        server = subprocess.Popen([DEBIAN_PYTHON, str(script), str(video)], stdout=subprocess.PIPE, text=True)
        servers.append(server)
        assert server.stdout is not None
        return server, f"rtsp://127.0.0.1:{int(server.stdout.readline())}/camera"

    yield serve
    for server in servers:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


class MjpegServer(ThreadingHTTPServer):
    """Sends numbered pictures by HTTP as many network cameras do, until it has sent `count` or is told to hang up."""

    daemon_threads = True

    def __init__(self, count: int) -> None:
        super().__init__(("127.0.0.1", 0), _Mjpeg)
        self.count, self.sent, self.stalled = count, 0, threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/video.mjpg"


class _Mjpeg(BaseHTTPRequestHandler):
    server: MjpegServer

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(self.server.count):
            jpeg = cv2.imencode(".jpg", numbered(number))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return
            self.server.sent = number + 1
            time.sleep(0.02)
            while self.server.stalled.is_set():
                time.sleep(0.02)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def mjpeg() -> Iterator[Callable[[int], MjpegServer]]:
    servers = []

    def serve(count: int) -> MjpegServer:
        servers.append(MjpegServer(count))
        return servers[-1]

    yield serve
    for server in servers:
        server.stalled.clear()
        server.shutdown()
        server.server_close()


class TestPattern(CameraContract):
    @pytest.fixture(params=["gray8", "bgr24"])
    def make(self, request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
        options = {"source": PATTERN, "format": "lavfi", "pixel_format": request.param}
        return create_camera("top", "av", options, tmp_path)


class TestHttp(CameraContract):
    @pytest.fixture
    def make(self, mjpeg: Callable[[int], MjpegServer], tmp_path: Path) -> Camera:
        return create_camera("top", "av", {"source": mjpeg(1000).address}, tmp_path)


class TestRtsp(CameraContract):
    @pytest.fixture
    def make(self, rtsp: Serve, tmp_path: Path) -> Camera:
        _, address = rtsp(write_numbered(tmp_path / "a.mkv", 500))
        return create_camera("top", "av", {"source": address}, tmp_path)


def test_rtsp_comes_in_order_to_its_end(rtsp: Serve, tmp_path: Path) -> None:
    _, address = rtsp(write_numbered(tmp_path / "a.mkv", 120))
    camera = LibavCamera(LibavSettings(source=address, transport="tcp"))
    frames, why = read_to_end(camera)
    camera.stop()
    assert isinstance(why, EndOfStream)
    assert frames[-1][1] == 119
    assert frames[-1][0].device_id == 119 - frames[0][1]
    assert_accounted(frames)


def test_rtsp_by_udp_comes_in_order(rtsp: Serve, tmp_path: Path) -> None:
    _, address = rtsp(write_numbered(tmp_path / "a.mkv", 120))
    camera = LibavCamera(LibavSettings(source=address, transport="udp"))
    frames, _ = read_to_end(camera)
    camera.stop()
    assert len(frames) > 30  # a busy network loses packets, and nobody numbered what would have been a picture
    assert_rising(frames)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_killed_server_is_a_loss_and_the_camera_opens_again(transport: Any, rtsp: Serve, tmp_path: Path) -> None:
    video = write_numbered(tmp_path / "a.mkv", 500)
    server, address = rtsp(video)
    camera = LibavCamera(LibavSettings(source=address, transport=transport))
    frames, why = read_to_end(camera, after=20, then=server.kill)
    server.wait()
    assert isinstance(why, CameraError)
    assert "lost" in str(why)
    assert len(frames) < 100
    assert_rising(frames)
    camera.stop()
    with pytest.raises(CameraError, match="can't be opened"):
        camera.open()
    _, address = rtsp(video)
    again = LibavCamera(LibavSettings(source=address, transport=transport))
    read_frame_of(again)


def read_more(camera: LibavCamera, out: NDArray[np.uint8]) -> None:
    """Read what is still to come; libav's parser gives its last picture only when the stream has ended."""
    for _ in range(10):
        camera.read(out, 5.0)


def read_frame_of(camera: LibavCamera) -> Capture:
    camera_format = camera.open()
    camera.start()
    capture = read_frame(camera, buffer_for(camera_format))
    camera.stop()
    return capture


@pytest.mark.skipif(sys.platform == "win32", reason="stops the server with SIGSTOP")
def test_a_server_that_hangs_gives_nothing_and_is_then_lost(rtsp: Serve, tmp_path: Path) -> None:
    server, address = rtsp(write_numbered(tmp_path / "a.mkv", 500))
    camera = LibavCamera(LibavSettings(source=address, lost_s=1.0))
    out = buffer_for(camera.open())
    camera.start()
    read_frame(camera, out)
    server.send_signal(signal.SIGSTOP)
    while camera.read(out, 0.1) is not None:  # what was on its way
        pass
    assert camera.read(out, 0.1) is None
    with pytest.raises(CameraError, match="nothing has come for 1 s"):
        read_more(camera, out)
    camera.stop()


def test_a_short_stall_is_no_loss(mjpeg: Callable[[int], MjpegServer]) -> None:
    server = mjpeg(1000)
    camera = LibavCamera(LibavSettings(source=server.address, pixel_format="gray8"))
    out = buffer_for(camera.open())
    camera.start()
    first = read_frame(camera, out)
    server.stalled.set()
    while camera.read(out, 0.2) is not None:
        pass
    server.stalled.clear()
    assert (read_frame(camera, out).device_id or 0) > (first.device_id or 0)
    camera.stop()


def test_http_that_hangs_up_is_lost(mjpeg: Callable[[int], MjpegServer]) -> None:
    camera = LibavCamera(LibavSettings(source=mjpeg(60).address))
    frames, why = read_to_end(camera)
    camera.stop()
    assert isinstance(why, CameraError)
    assert "lost" in str(why)
    assert_accounted(frames)
    assert frames[-1][1] == 59


def test_a_slow_reader_gets_the_newest_and_sees_the_gap(mjpeg: Callable[[int], MjpegServer]) -> None:
    server = mjpeg(1000)
    camera = LibavCamera(LibavSettings(source=server.address))
    out = buffer_for(camera.open())
    camera.start()
    frames = [(read_frame(camera, out), number_of(out))]
    until(lambda: server.sent > frames[0][1] + 40)  # nobody reads meanwhile
    frames += [(read_frame(camera, out), number_of(out)) for _ in range(20)]
    camera.stop()
    assert_accounted(frames)
    assert frames[1][1] - frames[0][1] > 5


def test_a_pattern_of_known_length_ends() -> None:
    camera = LibavCamera(LibavSettings(source="testsrc=size=160x120:rate=50:duration=1,realtime", format="lavfi"))
    frames, why = read_to_end(camera)
    camera.stop()
    assert isinstance(why, EndOfStream)
    assert 10 < len(frames) <= 50


GRABS = """
import json, sys
import numpy as np
from posestream.acquisition.backends.libav import LibavCamera, LibavSettings
settings = LibavSettings(
    source=sys.argv[1], format="x11grab", width=96, height=64, offset_x=16, offset_y=8, rate_hz=25.0
)
camera = LibavCamera(settings)
found, ids = camera.open(), []
out = np.empty(found.shape, np.uint8)
camera.start()
while len(ids) < 5:
    capture = camera.read(out, 1.0)
    ids += [capture.device_id] if capture is not None else []
camera.stop()
print(json.dumps({"format": [found.width, found.height, found.rate_hz], "ids": ids}))
"""


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_a_screen_is_grabbed_at_the_asked_place_and_rate() -> None:
    reading, writing = socket.socketpair()
    with reading, writing:
        screen = subprocess.Popen(
            [
                str(shutil.which("Xvfb")),
                "-displayfd",
                str(writing.fileno()),
                "-screen",
                "0",
                "320x240x24",
                "-nolisten",
                "tcp",
            ],
            pass_fds=[writing.fileno()],
            stderr=subprocess.DEVNULL,
        )
        try:
            display = f":{reading.recv(16).decode().strip()}"
            # A process of its own: FFmpeg's X library shares one with whatever toolkits the other tests have loaded.
            grabbed = subprocess.run(
                [sys.executable, "-c", GRABS, display], capture_output=True, text=True, timeout=100, check=False
            )
        finally:
            screen.kill()
            screen.wait()
    assert grabbed.returncode == 0, grabbed.stderr
    assert json.loads(grabbed.stdout) == {"format": [96, 64, 25.0], "ids": [0, 1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"exposure_us": 100.0}, "can't set exposure_us; .* it takes width"),
        ({"trigger": Trigger(source="software")}, "trigger"),
        ({"pixel_format": "Mono12"}, "Mono12.*gray8"),
        ({"width": 32, "height": 48}, "asked for 32x48 pixels and gives 64x48"),
        ({"offset_x": 8}, "offset_x"),
        ({"format": "nope"}, "nope"),
        ({"source": "nullsrc=duration=0"}, "before its first picture"),
        ({"source": "/dev/video97", "format": "v4l2"}, "/dev/video97"),
    ],
)
def test_what_it_cant_do_is_named(options: dict[str, Any], named: str) -> None:
    camera = LibavCamera(LibavSettings(**(dict[str, Any](source=PATTERN, format="lavfi") | options)))
    with pytest.raises(CameraError, match=named):
        camera.open()


def test_another_rate_than_asked_is_warned_about() -> None:
    camera = LibavCamera(LibavSettings(source=PATTERN, format="lavfi", rate_hz=30.0))
    camera_format = camera.open()
    camera.stop()
    assert camera_format.warnings == (f"{PATTERN} was asked for 30 frames/s and says that it gives 100",)


def test_a_password_is_not_shown() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}/camera"
    with pytest.raises(CameraError) as error:
        LibavCamera(LibavSettings(source=f"rtsp://lab:secret@{address}")).open()
    assert "secret" not in str(error.value)
    assert address in str(error.value)


def test_finding_gives_what_the_system_knows() -> None:
    assert isinstance(LibavCamera.find(), list)


@pytest.mark.timeout(120)
def test_the_example_rig_records_a_network_camera_and_verify_proves_it(rtsp: Serve, tmp_path: Path) -> None:
    _, address = rtsp(write_numbered(tmp_path / "a.mkv", 600))
    rig = Path(__file__).parents[3] / "examples" / "rtsp.toml"
    source = ["--set", f"cameras.top.source={address}"]
    run = subprocess.run(
        [POSESTREAM, "run", str(rig), *source, "--seconds", "3", "--output", str(tmp_path / "out"), "--json"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    (session,) = (tmp_path / "out").iterdir()
    proof = subprocess.run([POSESTREAM, "verify", str(session)], capture_output=True, check=False, text=True)
    assert proof.returncode == 0, proof.stdout + proof.stderr
    with av.open(str(session / "top" / "video.mp4")) as video:
        frames = [np.asarray(frame.to_ndarray(format="gray"), np.uint8) for frame in video.decode(video=0)]
    shown = [number_of(frame[..., None]) for frame in frames]
    assert len(shown) > 50
    assert shown == list(range(shown[0], shown[0] + len(shown)))
