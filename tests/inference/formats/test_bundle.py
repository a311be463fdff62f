import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import BundleFile, ModelBundle, ModelSource, ModelSpec
from posestream.inference.formats.graph_file import OPERATIONS


@pytest.fixture(scope="module")
def saved(bundle: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "half"
    bundle.save(folder, dtype="float16")
    return folder


def test_round_trip_is_exact(bundle: ModelBundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "new" / "model")
    loaded = ModelBundle.load(tmp_path / "new" / "model")
    assert loaded.spec == bundle.spec
    assert loaded.weights.keys() == bundle.weights.keys()
    for name, array in bundle.weights.items():
        assert loaded.weights[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.weights[name], array)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["model"]


def test_half_precision_halves_the_file(bundle: ModelBundle, saved: Path) -> None:
    numbers = sum(array.size for array in bundle.weights.values())
    assert (saved / "weights.safetensors").stat().st_size < 2.02 * numbers
    loaded = ModelBundle.load(saved)
    for name, array in bundle.weights.items():
        assert loaded.weights[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.weights[name], array.astype(np.float16))


def test_nothing_is_overwritten_and_nothing_half_is_left(bundle: ModelBundle, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ModelError, match="exists already"):
        bundle.save(tmp_path / "there")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        bundle.save(tmp_path / "file" / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_weights_that_do_not_fit_are_not_saved(bundle: ModelBundle, tmp_path: Path) -> None:
    large = {**bundle.weights, "conv1/bias": np.full(64, 1e5, np.float32)}
    with pytest.raises(ModelError, match="too large for float16"):
        ModelBundle(bundle.spec, large).save(tmp_path / "model", dtype="float16")
    broken = {**bundle.weights, "conv1/bias": np.full(64, np.nan, np.float32)}
    with pytest.raises(ModelError, match="conv1/bias holds numbers that are not finite"):
        ModelBundle(bundle.spec, broken).save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(["model.json", "weights.safetensors"]), share=st.floats(0, 1, exclude_max=True))
def test_cut_files(saved: Path, tmp_path: Path, file: str, share: float) -> None:
    for path in saved.iterdir():
        whole = path.read_bytes()
        # the last byte of model.json is a line break that it can do without
        (tmp_path / path.name).write_bytes(whole[: int((len(whole) - 1) * share)] if path.name == file else whole)
    with pytest.raises(ModelError, match=file):
        ModelBundle.load(tmp_path)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_any_byte_of_the_description(saved: Path, tmp_path: Path, place: float, byte: int) -> None:
    """One changed byte gives a ModelError or another valid description, and never another exception."""
    text = bytearray((saved / "model.json").read_bytes())
    text[int(len(text) * place)] = byte
    (tmp_path / "model.json").write_bytes(text)
    with pytest.raises(ModelError):  # at the latest for the weights, which are not there
        ModelBundle.load(tmp_path)


def test_flipped_bit_in_the_weights(saved: Path, tmp_path: Path) -> None:
    payload = bytearray((saved / "weights.safetensors").read_bytes())
    payload[-1000] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(payload)
    (tmp_path / "model.json").write_bytes((saved / "model.json").read_bytes())
    with pytest.raises(ModelError, match="checksum"):
        ModelBundle.load(tmp_path)


def rewrite(saved: Path, folder: Path, payload: bytes, **model: object) -> None:
    """A bundle made by hand, whose checksum is right."""
    import hashlib

    description = msgspec.json.decode((saved / "model.json").read_bytes())
    description["model"].update(model)
    description["weights"] = {"dtype": "float16", "sha256": hashlib.sha256(payload).hexdigest()}
    (folder / "model.json").write_bytes(msgspec.json.encode(description))
    (folder / "weights.safetensors").write_bytes(payload)


def test_weights_of_another_network(bundle: ModelBundle, saved: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    payload = (saved / "weights.safetensors").read_bytes()
    tensors = load(payload)
    rewrite(saved, tmp_path, payload, bodyparts=["a", "b"], skeleton=[])
    with pytest.raises(ModelError, match=r"part_pred/kernel has the shape \(3, 3, 3, 2048\)"):
        ModelBundle.load(tmp_path)
    rewrite(saved, tmp_path, payload, net_type="resnet_101")
    with pytest.raises(ModelError, match="tensors are missing"):
        ModelBundle.load(tmp_path)
    rewrite(saved, tmp_path, payload, location_refinement=False)
    with pytest.raises(ModelError, match="2 tensors do not belong there"):
        ModelBundle.load(tmp_path)
    rewrite(saved, tmp_path, save({**tensors, "conv1/bias": bundle.weights["conv1/bias"]}))
    with pytest.raises(ModelError, match="holds float32"):
        ModelBundle.load(tmp_path)
    rewrite(saved, tmp_path, save({**tensors, "conv1/bias": np.full(64, np.inf, np.float16)}))
    with pytest.raises(ModelError, match="not finite"):
        ModelBundle.load(tmp_path)
    rewrite(saved, tmp_path, b"no safetensors")
    with pytest.raises(ModelError, match="not a safetensors file"):
        ModelBundle.load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"version": 1', '"version": 2', "version"),
        ('"posestream model"', '"other"', "format"),
        ('"nose"', '"leftear"', "twice"),
        ('"stride": 8', '"stride": 4', "stride"),
        ('"stride": 8', '"stride": 8, "hook": "x"', "hook"),
        ('"locref_stdev": 7.2801', '"locref_stdev": 0', "locref_stdev"),
        ('"name": "openfieldOct30-10000"', '"name": ""', "name"),
    ],
)
def test_descriptions_that_are_refused(saved: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (saved / "model.json").read_text()
    assert old in text
    (tmp_path / "model.json").write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError, match=message):
        ModelBundle.load(tmp_path)


def test_skeleton_must_join_known_bodyparts() -> None:
    with pytest.raises(ValueError, match="tail"):
        ModelSpec(
            name="x",
            net_type="resnet_50",
            bodyparts=("nose",),
            skeleton=(("nose", "tail"),),
            scorer="x",
            source=ModelSource(kind="test"),
        )


def test_the_page_on_the_format_is_true() -> None:
    """docs/bundle.md is what a stranger writes a reader from."""
    page = (Path(__file__).parents[3] / "docs" / "bundle.md").read_text(encoding="utf-8")
    example = page.partition("```json\n")[2].partition("```")[0].replace("64 hexadecimal digits", "0" * 64)
    described = msgspec.json.decode(example, type=BundleFile)
    assert set(msgspec.json.decode(example)["model"]) == set(ModelSpec.__struct_fields__)
    defaults = msgspec.structs.replace(
        ModelSpec(name="a", net_type="resnet_50", bodyparts=("a",), scorer="a", source=ModelSource(kind="a")),
        **{key: getattr(described.model, key) for key in ("name", "bodyparts", "skeleton", "scorer", "source")},
    )
    assert defaults == described.model
    rows = re.findall(r"^\| `(\w+)` \| (?:text|K texts|pairs|8|number|boolean|3 numbers|object)", page, re.MULTILINE)
    assert set(rows) == set(ModelSpec.__struct_fields__)
    assert all(f"`{key}`" in page for key in ModelSource.__struct_fields__)
    operations = page.partition("more than numbers:\n\n")[2].partition("\n\n")[0].split()
    assert set(operations) == OPERATIONS


@pytest.mark.parametrize("scorer", ["/../../../victim", "..\\victim", "C:victim", "a\nb", "a*b", "\x1b[2J"])
def test_a_scorer_that_would_lead_elsewhere_is_refused(saved: Path, tmp_path: Path, scorer: str) -> None:
    """It becomes part of the names of the files that are written beside a video."""
    record = msgspec.json.decode((saved / "model.json").read_bytes())
    record["model"]["scorer"] = scorer
    (tmp_path / "model.json").write_bytes(msgspec.json.encode(record))
    shutil.copy(saved / "weights.safetensors", tmp_path)
    with pytest.raises(ModelError, match="part of the name of a file"):
        ModelBundle.load(tmp_path)
