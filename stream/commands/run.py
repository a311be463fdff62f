"""The commands that record, and those that take part in a run or watch one."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posestream.stream.commands.common import debugging, named_model

if TYPE_CHECKING:
    from posestream.stream.rig import Rig

__all__ = ["demo", "join", "run", "subscribe"]


@click.command()
@click.argument("rig_file", metavar="RIG.toml", type=click.Path(path_type=Path))
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this many seconds.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder that the session folder goes into.")
@click.option("--model", type=click.Path(path_type=Path), help="Network to run instead of the rig's.")
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key of the rig for this run; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def run(
    rig_file: Path,
    seconds: float | None,
    output: Path | None,
    model: Path | None,
    changes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Record a rig's cameras and stream poses.

    It runs until Ctrl-C, --seconds, or the end of all cameras.
    """
    from posestream.stream.rig import load_rig

    if model is not None:
        changes = (*changes, f"inference.model={json.dumps(named_model(model))}")
    _run(load_rig(rig_file, changes), rig_file.absolute().parent, seconds, output, as_json)


@click.command()
@click.option(
    "--seconds",
    default=20.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="How long to record.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder that the session folder goes into.")
@click.option("--model", type=click.Path(path_type=Path), help="Network to run instead of the demo's.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def demo(seconds: float, output: Path | None, model: Path | None, as_json: bool) -> None:
    """Record and track a simulated mouse.

    It needs no camera, screen or GPU.
    """
    from posestream.stream.commands.demo import DEMO_MODEL, demo_rig

    _run(demo_rig(named_model(model) if model is not None else DEMO_MODEL), Path.cwd(), seconds, output, as_json)


@click.command()
@click.argument("endpoint", default="tcp://127.0.0.1:5557")
@click.option("--camera", help="One camera only.")
@click.option("--latest", is_flag=True, help="Show the newest pose only; older ones are skipped.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each pose instead of a table.")
@click.option("--events", is_flag=True, help="With --json: also print a line for each event.")
@click.option("--follow", is_flag=True, help="When a session ends, wait for the next one.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Give up after this many seconds without a pose; by default, never.",
)
@click.option("--keys", type=click.Path(path_type=Path), help="Folder of keys, for poses from another machine.")
def subscribe(**options: Any) -> None:
    """Show live poses as a table or JSON lines.

    ENDPOINT is where a run publishes its poses, tcp://127.0.0.1:5557 by default.
    """
    from posestream.stream.commands.subscribe import show_poses

    sys.exit(show_poses(**options))


@click.command()
@click.argument("role", metavar="camera:NAME|inference")
@click.argument("control", metavar="ADDRESS")
@click.option("--keys", type=click.Path(path_type=Path), help="Folder of keys, the same as on the other machine.")
@click.option(
    "--wait",
    "wait_s",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds to wait for the run.",
)
def join(role: str, control: str, keys: Path | None, wait_s: float) -> None:
    """Run one process of another machine's rig here, started before or after `posestream run` there.

    ADDRESS is `control` under [network] in the rig.
    """
    from posestream.stream.run.joining import join_run

    sys.exit(join_run(role, control, keys, wait_s, debug=debugging(), tell=lambda text: click.echo(text, err=True)))


def _run(rig: "Rig", rig_folder: Path, seconds: float | None, output: Path | None, as_json: bool) -> None:
    from posestream.stream.commands.running import run_for_command
    from posestream.stream.run.display import TerminalDisplay, print_summary
    from posestream.stream.run.supervisor import Supervisor
    from posestream.stream.session.json_files import laid_over

    if seconds is not None:
        rig = rig.model_copy(update={"session": rig.session.model_copy(update={"seconds": seconds})})
    with TerminalDisplay() as display:
        outcome = run_for_command(Supervisor(rig, rig_folder, output or Path(rig.session.output), display))
    try:
        if debugging():
            for title, place in outcome.places.items():
                click.echo(f"{title}:\n{place}", err=True)
        if as_json:
            click.echo(json.dumps(laid_over(None, outcome.summary)))
            for problem in outcome.summary.problems:
                click.echo(problem, err=True)
        else:
            print_summary(outcome.summary)
        for log in outcome.logs:
            click.echo(f"log: {log}", err=True)
    except (OSError, SystemExit):  # nobody reads it, and rich ends the program then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(outcome.status)
