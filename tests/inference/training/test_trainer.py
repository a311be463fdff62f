import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from posestream.inference.errors import ModelError
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.networks.network import build_network
from posestream.inference.training.batches import Pool
from posestream.inference.training.checkpoints import CHECKPOINT_FILE
from posestream.inference.training.labels import read_labels
from posestream.inference.training.plan import TrainingPlan
from posestream.inference.training.progress import LOG_FILE
from posestream.inference.training.start import start_bundle, student_bundle
from posestream.inference.training.trainer import Progress, Trainer, learning_rate

from ...support.networks import random_network

PLAN = TrainingPlan(
    steps=8,
    warm_up_steps=2,
    batch_pixels=128 * 128,
    learning_rate=3e-4,
    largest_scale=0.4,
    locref_weight=0.05,
    smallest_scale=0.3,
    evaluate_steps=4,
    checkpoint_steps=4,
)


def test_known_body_parts_keep_their_heads(bundle) -> None:
    begun = start_bundle(bundle, ("tailbase", "paw", "nose"), name="new")
    assert begun.spec.bodyparts == ("tailbase", "paw", "nose")
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    old = build_network(bundle, pixel_format="rgb24", decode=False)(frames)
    new = build_network(begun, pixel_format="rgb24", decode=False)(frames)
    for each, *both in zip((1, 2), old, new, strict=True):
        before, after = (np.asarray(maps).reshape(*maps.shape[:3], 3, each) for maps in both)
        np.testing.assert_allclose(after[..., [0, 2], :], before[..., [2, 0], :], atol=1e-4)
        assert not np.allclose(after[..., 1, :], before[..., 1, :])


def test_loss_falls_and_a_resumed_training_ends_the_same(tmp_path, bundle, openfield_clip) -> None:
    labels = read_labels(openfield_clip.parent.parent)
    start = start_bundle(bundle, labels.bodyparts, name="tiny")
    folder, copy = tmp_path / "training", tmp_path / "copy"
    told: list[Progress] = []
    trainer = Trainer(start, PLAN, folder, pools=[Pool(labels.frames[:2], 1.0)], held_back=labels.frames[2:3])
    trainer.run(told.append, until=4)
    shutil.copytree(folder, copy)
    trainer.run(told.append)
    assert [progress.step for progress in told] == [4, 8]
    assert told[1].loss < told[0].loss
    assert [errors.labels for errors in told[1].held_back] == [4, 4, 4]
    assert (folder / "curves.png").stat().st_size > 1000
    trained = trainer.bundle()
    assert trained.spec.source.iterations == 8
    del trainer

    other = Trainer(start, PLAN, copy, pools=[Pool(labels.frames[:2], 1.0)], held_back=labels.frames[2:3])
    assert other.resume()
    other.run(told.append)
    resumed = other.bundle()
    for name, weights in trained.weights.items():
        np.testing.assert_allclose(resumed.weights[name], weights, atol=1e-6, err_msg=name)
    assert (copy / LOG_FILE).read_text().count("\n") == (folder / LOG_FILE).read_text().count("\n") == 3

    resumed.save(tmp_path / "bundle", "float16")
    loaded = ModelBundle.load(tmp_path / "bundle")
    assert loaded.spec.bodyparts == labels.bodyparts
    picture = labels.frames[0].read()[None, :64, :96]
    poses = np.asarray(build_network(loaded, pixel_format="rgb24")(picture))
    assert poses.shape == (1, 4, 3)
    assert np.isfinite(poses).all()

    changed = msgspec.structs.replace(PLAN, seed=1)
    with pytest.raises(ModelError, match="differs in: plan"):
        Trainer(start, changed, folder, pools=[Pool(labels.frames[:2], 1.0)]).resume()
    (folder / CHECKPOINT_FILE).write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="not a checkpoint"):
        Trainer(start, PLAN, folder, pools=[Pool(labels.frames[:2], 1.0)]).resume()


def test_a_student_learns_from_nothing_and_is_interrupted_without_loss(tmp_path, bundle, openfield_clip) -> None:
    labels = read_labels(openfield_clip.parent.parent)
    start = student_bundle(bundle.spec, "small", name="pupil", seed=1)
    frames = [replace(frame, keypoints=frame.keypoints[:3], known=frame.known[:3]) for frame in labels.frames[:4]]
    plan = msgspec.structs.replace(
        PLAN, steps=12, batch_norm=True, weight_decay=0.01, averaging=0.9, learning_rate=2e-3, checkpoint_steps=100
    )
    pools = [Pool(frames[:1], 0.25), Pool(frames, 0.75)]
    told: list[Progress] = []
    whole = Trainer(start, plan, tmp_path / "whole", pools=pools)
    whole.run(told.append)
    assert told[-1].loss < 0.9 * told[0].loss
    trained = whole.bundle()

    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    halted = Trainer(start, plan, tmp_path / "halted", pools=pools)
    with pytest.raises(KeyboardInterrupt):
        halted.run(interrupt)
    del halted
    resumed = Trainer(start, plan, tmp_path / "halted", pools=pools)
    assert resumed.resume()
    assert resumed.step == 4
    resumed.run(told.append)
    for name, weights in resumed.bundle().weights.items():
        np.testing.assert_allclose(weights, trained.weights[name], atol=2e-5, err_msg=name)

    picture = labels.frames[0].read()[None, :120, :160]
    folded = np.asarray(build_network(trained, pixel_format="rgb24")(picture))
    np.testing.assert_allclose(folded, whole.predict(picture), atol=1e-2)


@pytest.mark.parametrize("net_type", ["student_small", "leap"])
def test_small_networks_are_trained_too(tmp_path, project, net_type: str) -> None:
    labels = read_labels(project)
    start = start_bundle(random_network(net_type), labels.bodyparts, name="small")
    told: list[Progress] = []
    trainer = Trainer(start, PLAN, tmp_path / "training", pools=[Pool(labels.frames, 1.0)], held_back=labels.frames[:1])
    trainer.run(told.append)
    assert told[1].loss < told[0].loss
    trained = trainer.bundle()
    trained.save(tmp_path / "bundle")
    assert (trained.spec.net_type, len(trained.weights)) == (net_type, len(start.weights))
    assert any((trained.weights[name] != start.weights[name]).any() for name in start.weights)


def test_learning_rate_rises_and_falls() -> None:
    plan = TrainingPlan(steps=1000, warm_up_steps=100, learning_rate=1e-3)
    assert learning_rate(plan, 0) == pytest.approx(1e-5)
    assert learning_rate(plan, 99) == pytest.approx(1e-3)
    assert learning_rate(plan, 550) == pytest.approx(5e-4)
    assert learning_rate(plan, 999) < 1e-8
