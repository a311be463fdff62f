import subprocess
import sys
from pathlib import Path

import pytest

from posestream.inference.errors import ModelError
from posestream.inference.formats.models import load_model


def test_every_way_to_name_a_model(train_folder: Path, bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path / "bundle")
    for source in (
        train_folder,
        str(train_folder),
        train_folder.parent,
        train_folder / "snapshot-10000",
        train_folder / "snapshot-10000.index",
        tmp_path / "bundle",
    ):
        assert load_model(source).spec == bundle.spec


def test_the_named_snapshot_is_taken(train_folder: Path) -> None:
    with pytest.raises(ModelError, match="snapshot-9000 lacks"):
        load_model(train_folder / "snapshot-9000")


def test_project_stands_for_its_newest_network(train_folder: Path, bundle) -> None:
    assert load_model(train_folder.parents[3]).spec == bundle.spec


@pytest.mark.parametrize(
    ("files", "source", "message"),
    [
        ([], "nothing", r"^No such model: .*nothing\. A model is"),
        ([], "lmtracker", "No such model"),
        (["a/notes.txt"], "a", r"neither model\.json nor pose_cfg\.yaml"),
        (["a/pytorch_config.yaml"], "a", r"no snapshot-N\.pt"),
        (["a/one.pt", "a/two.pt"], "a", "several PyTorch files"),
        (["a/train/pytorch_config.yaml", "a/train/snapshot-200.pt"], "a", r"not DeepLabCut's pytorch_config\.yaml"),
        (["a/pose_cfg.yaml", "a/snapshot-5.pb"], "a", "not a DeepLabCut pose_cfg"),
        (["a/snapshot-5.pb"], "a", r"no pose_cfg\.yaml"),
        (["a/snapshot-5.pb"], "a/snapshot-5.pb", r"pose_cfg\.yaml cannot be read"),
        (
            ["a/dlc-models/iteration-0/b/train/pose_cfg.yaml"],
            "a",
            "no trained network here.* posestream train .*a --output a-network",
        ),
        (["a/pose_cfg.yaml"], "a", r"no snapshot-N\.index"),
        (["a/snapshot-5.index"], "a", r"no pose_cfg\.yaml"),
        (["a/video.mp4"], "a/video.mp4", "a file of another kind"),
        (["a/snapshot-5.index"], "a/snapshot-5", r"pose_cfg\.yaml cannot be read"),
    ],
)
def test_what_is_not_a_model_is_named(tmp_path: Path, files: list[str], source: str, message: str) -> None:
    for file in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / source)


def test_a_project_that_was_never_trained_says_what_to_do(tmp_path: Path) -> None:
    project = tmp_path / "my mice"
    project.mkdir()
    (project / "config.yaml").write_text("Task: mice\nbodyparts: [snout]\n")
    with pytest.raises(ModelError, match=r'no trained network here. Train one: posestream train ".*my mice" --output'):
        load_model(project)
    (project / "config.yaml").write_text("colour: blue\n")  # another program's
    with pytest.raises(ModelError, match=r"neither model\.json"):
        load_model(project)


def test_a_mistyped_name_gets_the_near_match(tmp_path: Path) -> None:
    (tmp_path / "my-mouse").mkdir()
    for given, meant in (("openfeild-mouse", "openfield-mouse"), ("my-muose", "my-mouse")):
        with pytest.raises(ModelError, match=rf'No such model: .*{given} \(did you mean "{meant}"\?\)'):
            load_model(tmp_path / given)


def test_importing_is_light() -> None:
    program = (
        "import sys, posestream.inference.formats.models, posestream.inference.networks.network\n"
        "import posestream.inference.engine\n"
        "assert not {'tensorflow', 'keras', 'pandas', 'safetensors'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
