"""Train: Adam on all weights, with checkpoints that a training goes on from.

DeepLabCut kept the statistics of batch norm as they were, so that folding them into the convolutions changes how the
weights are stored, not what its networks can become. A network that begins with random weights has its batch norm
unfolded while it learns.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from posestream.inference.errors import ModelError
from posestream.inference.formats.batch_norm import fold_all
from posestream.inference.formats.bundle import ModelBundle
from posestream.inference.networks.decoder import decode_numpy, sigmoid
from posestream.inference.networks.network import build_network
from posestream.inference.quiet import import_keras, import_tensorflow
from posestream.inference.training.batches import Batches, Pool
from posestream.inference.training.checkpoints import CHECKPOINT_FILE, read_checkpoint, write_checkpoint
from posestream.inference.training.evaluation import Errors, evaluate
from posestream.inference.training.labels import LabelledFrame
from posestream.inference.training.losses import total_loss
from posestream.inference.training.plan import TrainingPlan
from posestream.inference.training.progress import Diary

__all__ = ["Progress", "Trainer"]


@dataclass(frozen=True)
class Progress:
    """What is told at each look at a training."""

    step: int
    """Steps done."""
    loss: float
    """Mean since the last look."""
    seconds_per_step: float
    """Mean since the last look, without the look itself."""
    held_back: list[Errors]


class Trainer:
    """Trains a network; on a GPU where TensorFlow sees one.

    Parameters
    ----------
    start
        What `start_bundle` or `student_bundle` gave.
    plan
        Settings.
    folder
        Of the checkpoint, the log and the curves; it is made.
    pools
        Labelled frames to train on.
    held_back
        Labelled frames to look at in between.

    Raises
    ------
    ModelError
        There are no frames, the folder cannot be written to, or Keras runs on another backend than TensorFlow.
    """

    def __init__(
        self,
        start: ModelBundle,
        plan: TrainingPlan,
        folder: Path,
        *,
        pools: Sequence[Pool],
        held_back: Sequence[LabelledFrame] = (),
    ) -> None:
        if not any(pool.frames for pool in pools):
            raise ModelError("There are no labelled frames to train on.")
        self._start, self._plan, self._folder = start, plan, folder
        self._held_back = held_back
        self._batches = Batches(start.spec, plan, pools)
        # What a checkpoint must agree on: another start or other frames would end as another network
        self._identity = {
            "plan": msgspec.to_builtins(plan),
            "start": start.digest(),
            "frames": [[pool.share, *(frame.name for frame in pool.frames)] for pool in pools],
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(f"{folder} cannot be made: {error.strerror or error}.") from error
        self._tf = _tensorflow()
        import keras

        keras.utils.set_random_seed(plan.seed)
        self._network = self._build()
        self._network.trainable = True
        self._average = self._build() if plan.averaging else self._network
        decay = plan.weight_decay or None
        self._optimizer = keras.optimizers.Adam(plan.learning_rate, weight_decay=decay, global_clipnorm=plan.clip_norm)
        self._optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self._optimizer.build(self._network.trainable_variables)
        self._step_function = self._tf.function(self._follow_gradient, reduce_retracing=True)
        self.step = 0
        """Steps done."""

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False where there is none.

        Raises
        ------
        ModelError
            It is damaged, or of a training with another plan, start or frames.
        """
        path = self._folder / CHECKPOINT_FILE
        if (found := read_checkpoint(path, self._identity)) is None:
            return False
        step, tensors = found
        variables = self._variables()
        if tensors.keys() != variables.keys():
            raise ModelError(f"{path} holds the tensors of another network. Remove it and begin anew.")
        for name, variable in variables.items():
            variable.assign(tensors[name].reshape(variable.shape))
        self.step = step
        return True

    def run(
        self,
        tell: Callable[[Progress], None],
        until: int | None = None,
        each: Callable[[int], None] = lambda _step: None,
    ) -> None:
        """Train to the plan's end, or until so many steps are done; the checkpoint and the log are then written.

        Parameters
        ----------
        tell
            Called at each look at the frames held back.
        until
            Steps, counted from the training's beginning.
        each
            Called after each step with the steps done.

        Raises
        ------
        ModelError
            A picture cannot be read, the folder cannot be written to, or the loss is no longer a number.
        KeyboardInterrupt
            The checkpoint is then of the last whole step.
        """
        last = min(self._plan.steps, until or self._plan.steps)
        diary = Diary(self._folder, self.step)
        losses: list[float] = []
        began = time.perf_counter()
        with self._batches.ahead(self.step, last) as batches, self._saving_when_interrupted():
            for batch in batches:
                self._optimizer.learning_rate.assign(learning_rate(self._plan, self.step))
                arrays = (batch.pixels, batch.discs, batch.refinement, batch.within, batch.known)
                kept = np.float32(min(self._plan.averaging, (1 + self.step) / (10 + self.step)))
                losses.append(float(self._step_function(*map(self._tf.constant, (*arrays, kept)))))
                self.step += 1
                each(self.step)
                if not math.isfinite(losses[-1]):
                    raise ModelError(f"The loss is {losses[-1]} after step {self.step}. Lower the learning rate.")
                ended = self.step == last
                if ended or self.step % self._plan.evaluate_steps == 0:
                    seconds = (time.perf_counter() - began) / len(losses)
                    self._look(diary, Progress(self.step, float(np.mean(losses)), seconds, self.errors()), tell)
                    losses, began = [], time.perf_counter()
                if ended or self.step % self._plan.checkpoint_steps == 0:
                    self._save()
        diary.draw()

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Poses (B, K, 3) of RGB pictures, uint8 (B, H, W, 3), by the network as it is now."""
        spec = self._start.spec
        logits, locref = (np.asarray(maps) for maps in self._average(pixels, training=False))
        return decode_numpy(sigmoid(logits), locref, stride=float(spec.stride), locref_stdev=spec.locref_stdev)

    def errors(self) -> list[Errors]:
        """Errors on the frames held back, at every scale; none where no frame is."""
        return evaluate(self.predict, self._start.spec.bodyparts, self._held_back) if self._held_back else []

    def bundle(self) -> ModelBundle:
        """Give the network as it is now."""
        weights = {
            f"{layer.name.removesuffix('.norm').replace('.', '/')}/{weight.name}": weight.numpy()
            for layer in self._average.layers
            for weight in layer.weights
        }
        if self._plan.batch_norm:
            weights = fold_all(weights)
        spec = self._start.spec
        source = msgspec.structs.replace(spec.source, iterations=self.step)
        return ModelBundle(msgspec.structs.replace(spec, source=source), weights)

    def _build(self) -> Any:
        plan = self._plan
        return build_network(
            self._start, pixel_format="rgb24", precision=plan.precision, decode=False, batch_norm=plan.batch_norm
        )

    def _follow_gradient(self, pixels: Any, discs: Any, refinement: Any, within: Any, known: Any, kept: Any) -> Any:
        """Do one step, after which the average keeps this share of what it was; gives the loss before it."""
        with self._tf.GradientTape() as tape:
            logits, locref = self._network(pixels, training=True)
            loss = total_loss(logits, locref, discs, refinement, within, known, locref_weight=self._plan.locref_weight)
        variables = self._network.trainable_variables
        self._optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        if self._average is not self._network:
            for average, variable in zip(self._average.weights, self._network.weights, strict=True):
                average.assign(average * kept + variable * (1 - kept))
        return loss

    @contextmanager
    def _saving_when_interrupted(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.step = int(self._optimizer.iterations)  # counted within the step: that is done whole or not at all
            self._save()
            raise

    def _look(self, diary: Diary, progress: Progress, tell: Callable[[Progress], None]) -> None:
        line = {"step": progress.step, "loss": progress.loss}
        line |= {f"rmse_px_{errors.factor:g}": errors.rmse_px for errors in progress.held_back}
        diary.add(line)
        tell(progress)

    def _variables(self) -> dict[str, Any]:
        """Weights and the optimizer's state, under names that stay."""
        kinds = {"weights": self._network.weights, "adam": self._optimizer.variables}
        if self._average is not self._network:
            kinds["average"] = self._average.weights
        return {f"{kind}/{number}": variable for kind, found in kinds.items() for number, variable in enumerate(found)}

    def _save(self) -> None:
        tensors = {name: variable.numpy() for name, variable in self._variables().items()}
        write_checkpoint(self._folder / CHECKPOINT_FILE, tensors, self.step, self._identity)


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """Learning rate of a step: a straight rise, then half a cosine down to 0."""
    if step < plan.warm_up_steps:
        return plan.learning_rate * (step + 1) / plan.warm_up_steps
    done = (step - plan.warm_up_steps) / max(1, plan.steps - plan.warm_up_steps)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _tensorflow() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keras, tf = import_keras(), import_tensorflow()
    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"Keras runs on {keras.backend.backend()}, but training needs TensorFlow. Unset KERAS_BACKEND."
        )
    return tf
