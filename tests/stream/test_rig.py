from pathlib import Path

import pytest

from posestream.stream.rig import RigError, check_cameras, check_model, load_rig, parse_rig

CAMERA = {"cameras": {"top": {"backend": "synthetic"}}}
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))


def viewed(**view: object) -> dict:
    return {"cameras": {"top": {"backend": "synthetic", "view": view}}}


def following(**leaders: str | None) -> dict:
    """A rig of cameras and those that give their signals."""
    return {
        "cameras": {
            name: {"backend": "pylon", "trigger": {"source": "Line1", "leader": leader} if leader else {}}
            for name, leader in leaders.items()
        }
    }


def test_leaders_start_after_all_that_follow_them() -> None:
    rig = parse_rig(following(top=None, left="top", right="top", far="right", alone=None), "here")
    assert rig.start_order() == [["left", "far", "alone"], ["right"], ["top"]]


def test_a_camera_is_enough() -> None:
    rig = parse_rig(CAMERA, "here")
    assert rig.inference is None
    assert rig.recording_of("top").codec == "libx264"


def test_a_camera_can_record_otherwise_than_the_rest() -> None:
    rig = parse_rig(
        {
            "cameras": {"top": {"backend": "synthetic", "recording": {"crf": 30.0}}, "side": {"backend": "synthetic"}},
            "recording": {"crf": 18, "preset": "fast"},
        },
        "here",
    )
    assert (rig.recording_of("top").crf, rig.recording_of("top").preset) == (30, "fast")
    assert rig.recording_of("side").crf == 18


def test_the_backends_keys_stand_beside_the_cameras() -> None:
    rig = parse_rig({"cameras": {"top": {"backend": "file", "path": "a.mp4", "timeout_s": 2}}}, "here")
    assert rig.cameras["top"].options == {"path": "a.mp4"}
    assert rig.cameras["top"].timeout_s == 2


def named(*names: str) -> dict:
    return {"cameras": {name: {"backend": "file"} for name in names}}


TAKEN = ("reserve", "Reserve", "logs", "before-recovery", "manifest")


@pytest.mark.parametrize(
    ("tables", "texts"),
    [
        ({}, ["cameras: no camera; add a table such as [cameras.top]"]),
        ({"cameras": {}}, ["cameras: no camera; add a table such as [cameras.top]"]),
        (CAMERA | {"infrence": {}}, ['infrence: unknown key (did you mean "inference"?)']),
        (
            CAMERA | {"inference": {"model": "m", "window": {"sides": [100]}}},
            ["inference.window.sides.0", "multiple of 32"],
        ),
        (
            CAMERA | {"inference": {"model": "m", "window": {"sides": [256, 128]}}},
            ["inference.window", "a window of 128 pixels has no room within a margin_px of 64"],
        ),
        (
            CAMERA | {"inference": {"model": "m", "window": {"side": 256}}},
            ['inference.window.side: unknown key (did you mean "sides"?)'],
        ),
        (CAMERA | {"session": {"secnds": 3}}, ['session.secnds: unknown key (did you mean "seconds"?)']),
        (CAMERA | {"session": {"min_free_gib": "a"}}, ['session.min_free_gib = "a": must be a number of 0 or more']),
        (CAMERA | {"session": {"seconds": 0}}, ["session.seconds = 0: must be a number above 0"]),
        (CAMERA | {"recording": {"crf": True}}, ["recording.crf = true: must be a number from 0 to 63"]),
        (CAMERA | {"session": 3}, ["session = 3: must be a table"]),
        (CAMERA | {"recording": {"crf": "23"}}, ['recording.crf = "23": must be a number', "write it without quotes"]),
        (CAMERA | {"recording": {"crf": 60}}, ["recording.crf = 60: libx264 takes 0 to 51"]),
        (CAMERA | {"recording": {"crf": 52, "codec": "h264_nvenc"}}, ["recording.crf = 52: h264_nvenc takes 0 to 51"]),
        (
            {"cameras": {"top": {"backend": "file", "recording": {"crf": 60, "codec": "libx265"}}}},
            ["cameras.top.recording.crf = 60: libx265 takes 0 to 51"],
        ),
        (CAMERA | {"recording": {"container": "avi"}}, ['recording.container = "avi": must be "mp4" or "mkv"']),
        (CAMERA | {"inference": {"mode": "fresh"}}, ["inference.model: missing", 'did you mean "freshest"?']),
        ({"cameras": {"t op": {"backend": "file"}}}, ["cameras.t op", "letters, digits"]),
        ({"cameras": {"top": {"backend": "file", "recording": {"crff": 1}}}}, ["cameras.top.recording.crff", '"crf"']),
        (following(top="sid", side=None), ['cameras.top.trigger.leader = "sid": there is no such', '"side"']),
        (following(top="side", side="top"), ["cameras.top.trigger.leader", "cameras.side.trigger", "in a circle"]),
        (following(top="top"), ["cameras.top.trigger.leader", "in a circle"]),
        (
            viewed(regions=[{"x": 0, "width": 3, "height": 0}]),
            ["cameras.top.view.regions.0.height = 0: must be a whole number of 1 or more"],
        ),
        (viewed(regions=[{"width": 3}]), ["cameras.top.view.regions.0.height: missing"]),
        (viewed(regions=[{"widht": 3}]), ["cameras.top.view.regions.0.widht", 'did you mean "width"?']),
        (viewed(rotate=45), ["cameras.top.view.rotate = 45: must be 0, 90, 180 or 270"]),
        (viewed(flip="horizontl"), ["cameras.top.view.flip", 'did you mean "horizontal"?']),
        (viewed(roatte=90), ["cameras.top.view.roatte: unknown key", 'did you mean "rotate"?']),
        (viewed(mask={"polygons": [[[0, 0], [1, 1]]]}), ["cameras.top.view.mask.polygons.0", "at least 3 values"]),
        (viewed(mask={"value": 3}), ["cameras.top.view.mask", "either polygons or an image"]),
        (CAMERA | {"network": {"poses": "localhost"}}, ["network.poses", "tcp://127.0.0.1:5557"]),
        *((named(name), [f"cameras.{name}", "the session folder has a file or folder of that name"]) for name in TAKEN),
        *((named(name), [f"cameras.{name}", "on Windows it is a device"]) for name in ("con", "NUL", "Com1", "lpt9")),
        (named("-top"), ["cameras.-top", "does not begin with -"]),
        (named("top."), ["cameras.top.", "a name is 1 to 48 letters"]),
        (named("top", "Top", "side"), ["cameras.top, cameras.Top: their names differ by case alone"]),
        (named("top\n"), ["has the character U+000A"]),
        (CAMERA | {"session": {"name": "x\n"}}, ['session.name has the character U+000A in "x\\n"']),
        (CAMERA | {"session": {"output": "a\0b"}}, ['session.output has the character U+0000 in "a\\x00b"']),
        (CAMERA | {"recording": {"options": {"x": ["\x1b"]}}}, ["recording.options.x.0 has the character U+001B"]),
        (CAMERA | {"session": {"output": "\udcff"}}, ["session.output has the character U+DCFF"]),
    ],
)
def test_what_is_not_understood_is_named(tables: dict, texts: list[str]) -> None:
    with pytest.raises(RigError) as raised:
        parse_rig(tables, "here.toml")
    for text in ["rig here.toml", *texts]:
        assert text in str(raised.value)


def test_files_that_are_no_rig(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[cameras\n")
    (tmp_path / "binary.toml").write_bytes(bytes(range(128, 256)))
    for name, text in [
        ("gone.toml", "can't be read"),
        ("bad.toml", "is not TOML"),
        ("binary.toml", "is not UTF-8"),
    ]:
        with pytest.raises(RigError, match=text) as raised:
            load_rig(tmp_path / name)
        assert name in str(raised.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("backend = synthetic  # the mouse", 'text stands in quotes: backend = "synthetic"'),
        ('backend = "synthetic', "a quote is missing"),
        ("remote = True", "write remote = true"),
        ("rate_hz = 30,5", "a number has a decimal point, not a comma"),
        ('path = "C:\\Users\\lab.mp4"', "a backslash in double quotes begins an escape"),
        ("width", "a key stands with its value: KEY = VALUE"),
    ],
)
def test_what_is_not_toml_is_shown_with_what_was_meant(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "my rig.toml"
    path.write_text(f"[cameras.top]\n{line}\n")
    with pytest.raises(RigError) as raised:
        load_rig(path)
    assert f"line 2: {line.strip()}\n" in str(raised.value)
    assert says in str(raised.value)


def test_a_rig_from_an_editor_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_bytes(b'\xef\xbb\xbf[cameras.top]\r\nbackend = "synthetic"\r\n')
    assert load_rig(path).cameras["top"].backend == "synthetic"
    path.write_bytes('[cameras.top]\nbackend = "Müller"\n'.encode("latin-1"))
    with pytest.raises(RigError, match=r"not UTF-8 text \(line 2\); save it as UTF-8"):
        load_rig(path)


def test_a_model_is_looked_for_before_anything_is_opened(tmp_path: Path) -> None:
    for given, says in (("openfeild-mouse", 'did you mean "openfield-mouse"'), (".", "not a model")):
        with pytest.raises(RigError, match=says):
            check_model(parse_rig(CAMERA | {"inference": {"model": given}}, "here"), tmp_path)
    check_model(parse_rig(CAMERA | {"inference": {"model": "openfield-mouse"}}, "here"), tmp_path)
    check_model(parse_rig(CAMERA | {"inference": {"model": "there", "remote": True}}, "here"), tmp_path)


def test_keys_can_be_changed_from_outside(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text('[cameras.top]\nbackend = "file"\npath = "a.mp4"\n')
    rig = load_rig(path, ["session.seconds=10", "cameras.top.path=b c.mp4", 'inference.model="net"'])
    assert rig.session.seconds == 10
    assert rig.cameras["top"].options["path"] == "b c.mp4"
    assert rig.inference is not None
    for wrong in ("session", "=3", "cameras.top.path.x=1", "session.second=1"):
        with pytest.raises(RigError):
            load_rig(path, [wrong])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_rigs(path: Path) -> None:
    assert load_rig(path).cameras


def test_an_encoder_with_a_wider_range_gets_it() -> None:
    rig = parse_rig(CAMERA | {"recording": {"crf": 60, "codec": "libsvtav1"}}, "here")
    assert rig.recording_of("top").crf == 60


def test_the_cameras_own_keys_are_checked_all_at_once_in_the_style_of_the_rig() -> None:
    cameras = {
        "top": {"backend": "synthetic", "wdith": 640, "rate_hz": "30"},
        "side": {"backend": "pylon", "trigger": {"edge": "up", "sorce": "Line1"}, "white_balance": [1, 2]},
        "far": {"backend": "file"},
        "gone": {"backend": "sinthetic"},
        "there": {"backend": "of-the-other-machine", "remote": True, "any": 1},
    }
    with pytest.raises(RigError) as raised:
        check_cameras(parse_rig({"cameras": cameras}, "here"))
    for line in (
        'cameras.top.wdith: unknown key (did you mean "width"?)',
        'cameras.top.rate_hz = "30": must be a number above 0 and up to 10000; write it without quotes',
        'cameras.side.trigger.edge = "up": must be "rising" or "falling"',
        'cameras.side.trigger.sorce: unknown key (did you mean "source"?)',
        'cameras.side.white_balance = [1, 2]: must be a list of 3 values, each a number above 0 or "auto"',
        "cameras.far.path: missing",
        'cameras.gone.backend: there is no backend "sinthetic" (did you mean "synthetic"?)',
    ):
        assert line in str(raised.value)
    assert "there" not in str(raised.value).replace("there is", "")


def test_a_backend_whose_software_is_not_installed_is_told_as_such(tmp_path: Path, monkeypatch) -> None:
    plugin = tmp_path / "bare-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text("[posestream.cameras]\nbare = bare_camera:Camera\n")
    (tmp_path / "bare_camera.py").write_text("import an_sdk_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RigError, match=r"software that it needs is not installed here .*an_sdk_that_nobody_has"):
        check_cameras(parse_rig({"cameras": {"top": {"backend": "bare"}}}, "here"))


def test_the_cameras_of_the_examples_are_known() -> None:
    for path in EXAMPLES:
        check_cameras(load_rig(path))
