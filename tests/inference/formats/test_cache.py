import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from posestream.inference.errors import ModelError
from posestream.inference.formats import cache
from posestream.inference.formats.cache import CACHE_VARIABLE, cached
from posestream.inference.formats.models import load_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def refuse() -> NoReturn:
    raise AssertionError("it was to be found")


def test_a_kept_model_is_not_converted_again(folder: Path, bundle, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("one")
    assert cached([source], lambda: bundle).weights is bundle.weights
    assert cached([source], refuse).spec == bundle.spec
    source.write_text("two")
    assert cached([source], lambda: bundle).weights is bundle.weights
    assert len(list(folder.iterdir())) == 2


def test_a_damaged_one_is_made_anew(folder: Path, bundle, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("one")
    cached([source], lambda: bundle)
    weights = next(folder.glob("*/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    assert cached([source], lambda: bundle).weights is bundle.weights
    assert cached([source], refuse).spec == bundle.spec


def test_what_cannot_be_kept_is_used_all_the_same(bundle, tmp_path: Path, monkeypatch, caplog) -> None:
    source = tmp_path / "source"
    source.write_text("one")
    monkeypatch.setenv(CACHE_VARIABLE, str(source))
    assert cached([source], lambda: bundle).weights is bundle.weights
    assert "not kept" in caplog.text


def test_the_least_recently_used_goes(folder: Path, bundle, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cache, "MOST_BUNDLES", 2)
    source = tmp_path / "source"
    for text in ("one", "two", "one", "three"):
        source.write_text(text)
        cached([source], lambda: bundle)
    assert len(list(folder.iterdir())) == 2
    source.write_text("one")
    cached([source], refuse)


def test_an_error_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pb").write_bytes(b"words")
    (tmp_path / "pose_cfg.yaml").write_text("net_type: resnet_50")
    with pytest.raises(ModelError):
        load_model(tmp_path)
    assert not folder.exists()


def test_two_processes_at_once(folder: Path, bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "bundle")
    program = (
        "import sys, logging; from pathlib import Path; logging.basicConfig(level='WARNING')\n"
        "from posestream.inference.formats.bundle import ModelBundle\n"
        "from posestream.inference.formats.cache import cached\n"
        "source = Path(sys.argv[1])\n"
        "print(cached([source / 'model.json'], lambda: ModelBundle.load(source)).spec.scorer)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "bundle")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        assert "openfieldOct30" in output
        assert "not kept" not in errors
    assert len(list(folder.glob("*/model.json"))) == 1
    assert not list(folder.glob(".*"))
