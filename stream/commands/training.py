"""The commands that train networks."""

import json
from pathlib import Path
from typing import Any

import click

from posestream.stream.commands.ctrl_c import interruptible

__all__ = ["distil", "train"]


@click.command()
@click.argument("project", type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Bundle to make.")
@click.option(
    "--start",
    type=click.Path(path_type=Path),
    default="openfield-mouse",
    show_default=True,
    help="Network to start from.",
)
@click.option("--steps", default=5000, show_default=True, type=click.IntRange(min=1), help="Steps to train.")
@click.option(
    "--learning-rate",
    default=1e-4,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Highest learning rate; it rises at first and falls to 0.",
)
@click.option(
    "--locref-weight",
    default=0.5,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Weight of the location refinement in the loss; DeepLabCut uses 0.05.",
)
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16"]),
    help="Numbers to compute with.",
)
@click.option(
    "--holdout",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of the frames held back to test on.",
)
@click.option("--folds", type=click.IntRange(min=2), help="Cross-validation: hold back one of this many parts instead.")
@click.option(
    "--fold", default=1, show_default=True, type=click.IntRange(min=1), help="Number of the part to hold back."
)
@click.option("--arena", default=0, show_default=True, type=click.IntRange(min=0), help="Simulated frames to mix in.")
@click.option(
    "--arena-share",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of simulated crops.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed for crops and order.")
@click.option(
    "--evaluate-every", default=250, show_default=True, type=click.IntRange(min=1), help="Steps between evaluations."
)
@click.option(
    "--checkpoint-every", default=250, show_default=True, type=click.IntRange(min=1), help="Steps between checkpoints."
)
@click.option("--resume", is_flag=True, help="Resume from the last checkpoint, if there is one.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How the bundle stores weights.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@interruptible
def train(project: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Train a network on a DeepLabCut project's labels.

    PROJECT is a project with one animal. The checkpoint, the log and the learning curves go into a folder beside the
    bundle, BUNDLE.training.
    """
    from posestream.inference.training.plan import TrainingPlan
    from posestream.stream.commands.train import TrainingSettings, show_errors, train_network

    def tell(text: str) -> None:
        click.echo(text, err=as_json)

    steps = options.pop("steps")
    plan = TrainingPlan(
        steps=steps,
        learning_rate=options.pop("learning_rate"),
        warm_up_steps=min(100, steps // 10),
        locref_weight=options.pop("locref_weight"),
        precision="mixed_bfloat16" if options.pop("precision") == "bfloat16" else "float32",
        seed=options.pop("seed"),
        evaluate_steps=options.pop("evaluate_every"),
        checkpoint_steps=options.pop("checkpoint_every"),
    )
    result = train_network(project, output, TrainingSettings(plan=plan, **options), tell)
    click.echo(json.dumps(result) if as_json else "\n".join(show_errors(result)))


@click.command()
@click.argument("teacher", type=click.Path(path_type=Path))
@click.argument("more", metavar="", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--videos",
    metavar="VIDEO...",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="Recordings of the animals and the view that the student is for.",
)
@click.option("--output", metavar="BUNDLE", required=True, type=click.Path(path_type=Path), help="Bundle to make.")
@click.option(
    "--labels", metavar="PROJECT", type=click.Path(path_type=Path), help="DeepLabCut project whose labels are mixed in."
)
@click.option(
    "--size", default="small", show_default=True, type=click.Choice(["small", "medium"]), help="Size of the student."
)
@click.option(
    "--hours",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Time for all of it, if the machine stays as busy as it is.",
)
@click.option("--steps", default=0, type=click.IntRange(min=0), help="Steps to train, whatever time they take.")
@click.option(
    "--frames", default=600, show_default=True, type=click.IntRange(min=2), help="Frames of the videos to learn from."
)
@click.option(
    "--arena",
    default=400,
    show_default=True,
    type=click.IntRange(min=0),
    help="Simulated frames to mix in, if the teacher knows that mouse.",
)
@click.option(
    "--accept",
    metavar="PX",
    type=click.FloatRange(min=0),
    help="Largest median distance from the teacher; by default a hundredth of the frame's diagonal.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Seed for all that is drawn.")
@click.option("--resume", is_flag=True, help="Go on from where an earlier try was stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@interruptible
def distil(
    teacher: Path, more: tuple[Path, ...], videos: tuple[Path, ...], output: Path, as_json: bool, **options: Any
) -> None:
    """Make a small, fast network that finds what TEACHER finds on your videos.

    TEACHER is any network that posestream loads. It labels frames of the videos, a small network learns them, and the
    report says how far the two are apart on the last third of each video, which is kept apart. What is done so far
    lies in BUNDLE.distilling until the bundle is made; after Ctrl-C, --resume goes on.
    """
    import msgspec

    from posestream.inference.distilling.report import PICTURE, words
    from posestream.stream.commands.distil import Screen, Settings, distil_network
    from posestream.stream.run.display import TerminalDisplay

    with TerminalDisplay() as display:
        screen = Screen(display.phase, display.progress)
        try:
            report = distil_network(teacher, [*videos, *more], output, Settings(**options), screen)
        except KeyboardInterrupt:
            display.notice("stopped; the same command with --resume goes on")
            raise
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
        return
    for line in words(report):
        click.echo(line)
    click.echo(f"made {output}; the frames where the two are farthest apart are drawn in {output / PICTURE}")
