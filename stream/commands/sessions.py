"""The commands on a recorded session."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posestream.stream.commands.common import plain
from posestream.stream.wire.errors import FAILED, OK, UserError
from posestream.stream.wire.interrupts import take_interrupts

if TYPE_CHECKING:
    from posestream.stream.session.verify import Findings

__all__ = ["backfill", "recover", "verify"]


@click.command()
@click.argument("session", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def verify(session: Path, as_json: bool) -> None:
    """Prove or refute that SESSION accounts for every frame: decodes the video and checks every table."""
    from posestream.stream.offline.progress import reading
    from posestream.stream.run.display import TerminalDisplay
    from posestream.stream.session.lost import say_lost
    from posestream.stream.session.verify import verify_session

    with TerminalDisplay(quiet=not sys.stderr.isatty()) as display:
        found = verify_session(session, reading("files", display.progress))
    if as_json:
        click.echo(json.dumps(found))
    else:
        for camera, counts in found["cameras"].items():
            numbers = [f"{count} {name}" for name, count in counts.items() if isinstance(count, int)]
            click.echo(f"camera {camera}: {', '.join(numbers)}")
            lost = counts.get("lost")
            if isinstance(lost, dict):
                click.echo(f"camera {camera}: {say_lost(lost)}")
        for problem in found["problems"]:
            click.echo(f"problem: {plain(problem)}")
        for text in found["not_provable"]:
            click.echo(f"not provable: {plain(text)}")
        click.echo(_verdict(found))
    sys.exit(OK if found["proved"] else FAILED)


@click.command()
@click.argument("session", type=click.Path(path_type=Path))
def recover(session: Path) -> None:
    """Close what a crash left open in SESSION, and write DeepLabCut's files."""
    from posestream.stream.offline.progress import reading
    from posestream.stream.run.display import TerminalDisplay
    from posestream.stream.session.recover import recover_session

    try:
        with TerminalDisplay(quiet=not sys.stderr.isatty()) as display:
            done = recover_session(session, reading("files", display.progress))
    except (OSError, ValueError) as error:
        raise UserError(f"{session} can't be recovered: {error}") from error
    for text in done or ["nothing to do: the session was closed"]:
        click.echo(plain(text))


@click.command()
@click.argument("session", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="Another model than the one that the session ran.")
@click.option("--camera", help="One camera only.")
@click.option("--batch-size", type=click.IntRange(1, 1024), help="Frames inferred together; as in the rig by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def backfill(session: Path, as_json: bool, **options: Any) -> None:
    """Compute from SESSION's video the poses that live inference skipped; Ctrl-C keeps what was computed."""
    from posestream.stream.offline.backfill import Backfill
    from posestream.stream.run.display import TerminalDisplay, print_backfill

    with TerminalDisplay(quiet=not sys.stderr.isatty()) as display:
        work = Backfill(session, show=lambda done: display.progress(done.by_name), tell=display.phase, **options)
        take_interrupts(work.stop)
        try:
            result = work.run()
        except (OSError, ValueError) as error:
            raise UserError(f"{session} can't be backfilled: {error}") from error
    click.echo(json.dumps(result)) if as_json else print_backfill(result)
    sys.exit(FAILED if result["problems"] or result["without_pose"] else OK)


def _verdict(found: "Findings") -> str:
    if found["problems"]:
        return "refuted"
    if not found["proved"]:
        return "not proved: nothing was found wrong, but not everything can be shown"
    return "proved: every frame is accounted for, and every file is as it was when the session was closed"
