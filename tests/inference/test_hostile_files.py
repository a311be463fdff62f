"""Whatever stands in a model's files: a model, or an error for people; nothing is executed and nothing half is left."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posestream.inference.errors import ModelError
from posestream.inference.formats.archive import unpacked
from posestream.inference.formats.bundle import ModelBundle, ModelSpec
from posestream.inference.formats.models import load_model
from posestream.inference.formats.pose_config import PoseConfig, describe, read_config
from posestream.inference.formats.project_files import Training
from posestream.inference.formats.torch_config import describe_torch, read_torch_config

from .conftest import POSE_CONFIG, torch_config

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)
"""What YAML can hold."""

SAME_FOLDER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def given_or_error(make: Callable[[], Any]) -> Any:
    """What is made, or the error for people; any other error is the test's."""
    try:
        return make()
    except ModelError as error:
        return error


@settings(SAME_FOLDER, max_examples=100)
@given(key=st.sampled_from([*PoseConfig.__struct_fields__, "strange"]), value=VALUES)
def test_any_value_in_pose_cfg(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "pose_cfg.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(POSE_CONFIG) | {key: value}), encoding="utf-8")
    got = given_or_error(lambda: describe(tmp_path, read_config(path), "snapshot-5"))
    assert isinstance(got, ModelSpec) or "pose_cfg.yaml" in str(got)


def places(config: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a configuration, with those that it lies under."""
    if not isinstance(config, dict):
        return [above]
    return [above, *(place for key, value in config.items() for place in places(value, (*above, key)))]


@settings(SAME_FOLDER, max_examples=250)
@given(place=st.sampled_from(places(torch_config())[1:]), value=VALUES)
def test_any_value_in_pytorch_config(place: tuple[str, ...], value: Any) -> None:
    config = torch_config()
    inner = config
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    training, path = Training(folder="a", stem="a"), Path("/nowhere/snapshot-5.pt")
    got = given_or_error(lambda: describe_torch(read_torch_config(config, "here"), path, training))
    assert isinstance(got, ModelSpec) or "here" in str(got)


def test_a_configuration_that_is_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "pose_cfg.yaml"
    with path.open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(ModelError, match="too large"):
        read_config(path)
    letters = "abcdefghijklmnopqrstuvwxyz"  # each twice the one before it
    lines = [f"{one}: &{one} [*{before}, *{before}]\n" for before, one in pairwise(letters)]
    path.write_text("a: &a [x, x]\n" + "".join(lines) + "net_type: *z\n")
    with pytest.raises(ModelError, match="not a DeepLabCut"):
        read_config(path)
    path.write_text("[" * 5000)
    with pytest.raises(ModelError, match="not a YAML file"):
        read_config(path)


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (["model.json/"], ""),
        (["model.json", "weights.safetensors/"], ""),
        (["pose_cfg.yaml/", "snapshot-5.index"], ""),
        (["pose_cfg.yaml", "snapshot-5.index/"], ""),
        (["pose_cfg.yaml", "snapshot-5.index", "snapshot-5.data-00000-of-00001/"], "snapshot-5"),
        (["pose_cfg.yaml", "snapshot-5.pb/"], ""),
        (["pose_cfg.yaml", "snapshot-5.pb/"], "snapshot-5.pb"),
        (["pytorch_config.yaml/", "snapshot-5.pt"], ""),
        (["pytorch_config.yaml", "snapshot-5.pt/"], "snapshot-5.pt"),
        (["a.tar.gz/"], "a.tar.gz"),
        (["a.pt/"], ""),
    ],
)
def test_a_folder_in_the_place_of_a_file(tmp_path: Path, files: list[str], source: str) -> None:
    for file in files:
        path = tmp_path / file
        if file.endswith("/"):
            path.mkdir()
        else:
            path.write_text(POSE_CONFIG if file == "pose_cfg.yaml" else "")
    with pytest.raises(ModelError):
        load_model(tmp_path / source)


def test_links_to_nowhere_and_in_circles(tmp_path: Path) -> None:
    for name, target in (("circle", "circle"), ("gone", "nothing"), ("pose_cfg.yaml", "pose_cfg.yaml")):
        (tmp_path / name).symlink_to(tmp_path / target)
    for name in ("circle", "gone", "circle/train", ""):
        with pytest.raises(ModelError):
            load_model(tmp_path / name)


def test_no_error_leaves_half_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from posestream.stream.cli import main

    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pose_cfg.yaml").write_text(POSE_CONFIG)
    (tmp_path / "snapshot-5.pb").write_bytes(b"words")
    result = CliRunner().invoke(main, ["model", "import", str(tmp_path), str(tmp_path / "out" / "bundle")])
    assert result.exit_code == 2
    assert "damaged, or not a TensorFlow graph" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pose_cfg.yaml", "snapshot-5.pb"]


@settings(SAME_FOLDER, max_examples=25)
@given(payload=st.binary(max_size=80), announced=st.none() | st.integers(0, 2**64 - 1))
def test_any_bytes_for_weights(tmp_path: Path, bundle: ModelBundle, payload: bytes, announced: int | None) -> None:
    """The checksum is right, as whoever made the bundle can see to that."""
    content = payload if announced is None else announced.to_bytes(8, "little") + payload
    weights = {"dtype": "float32", "sha256": hashlib.sha256(content).hexdigest()}
    text = {"format": "posestream model", "version": 1, "model": msgspec.to_builtins(bundle.spec), "weights": weights}
    (tmp_path / "model.json").write_bytes(msgspec.json.encode(text))
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.safetensors"):
        ModelBundle.load(tmp_path)


def packed(fill: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in fill.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


@settings(SAME_FOLDER, max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_any_damage_to_an_archive(tmp_path: Path, place: float, byte: int, cut: bool) -> None:
    whole = packed({"a/pose_cfg.yaml": POSE_CONFIG.encode(), "a/snapshot-5.pb": bytes(range(256)) * 8})
    number = int(len(whole) * place)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(whole[:number] if cut else whole[:number] + bytes([byte]) + whole[number + 1 :])

    def unpack() -> list[str]:
        with unpacked(path) as folder:
            return sorted(file.name for file in folder.iterdir())

    got = given_or_error(unpack)
    assert "a.tar.gz" in str(got) if isinstance(got, ModelError) else "pose_cfg.yaml" in got


@pytest.mark.parametrize("what", ["config", "header"])
def test_archive_bombs(tmp_path: Path, what: str) -> None:
    """A small file that unpacks to much more than it may is refused before it is on the disk or in memory."""
    info = tarfile.TarInfo("a/pose_cfg.yaml")
    info.size = 2**28
    if what == "header":
        info.type = tarfile.XHDTYPE
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf(format=tarfile.USTAR_FORMAT))
        for _ in range(2**28 // 2**22):
            file.write(bytes(2**22))
    assert path.stat().st_size < 2**22
    message = r"a pose_cfg\.yaml of 268,435,456 bytes" if what == "config" else "header of 268,435,456 bytes"
    with pytest.raises(ModelError, match=message), unpacked(path):
        pass


def test_a_disk_without_room_is_said(bundle: ModelBundle, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits a file's size by a POSIX call")
    import signal

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, old[1]))
    try:
        with pytest.raises(ModelError, match="cannot be written"):
            bundle.save(tmp_path / "bundle")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())
