"""The commands on a machine: its cameras, what works on it, its keys."""

import json
import sys
from pathlib import Path

import click

from posestream.stream.commands.ctrl_c import interruptible
from posestream.stream.wire.errors import FAILED, OK

__all__ = ["cameras", "doctor", "keys"]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def keys(folder: Path) -> None:
    """Make a folder of keys, for a rig on several machines."""
    from posestream.stream.wire.keys import create_keys

    create_keys(folder)
    where = folder.absolute().as_posix()
    click.echo(f"made keys in {folder}; copy the folder to each machine, and in the rig, under [network], write:")
    click.echo(f'keys = "{where}"    # or its path from the folder of the rig file')


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_context
def cameras(context: click.Context, as_json: bool) -> None:
    """List cameras that are plugged in.

    Each backend is searched; if one can't be used, the reason is shown.
    """
    if context.invoked_subcommand is not None:
        return
    from posestream.stream.commands.cameras import list_cameras, show_cameras

    found = list_cameras()
    click.echo(json.dumps(found) if as_json else "\n".join(show_cameras(found)))


@cameras.command("test")
@click.argument("rig_file", metavar="RIG.toml", type=click.Path(path_type=Path))
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option(
    "--pictures",
    default=Path("camera-test"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the pictures.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key of the rig for this test; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def cameras_test(rig_file: Path, seconds: float, pictures: Path, changes: tuple[str, ...], as_json: bool) -> None:
    """Try all cameras of a rig at once.

    Shows the rates asked for and measured, losses and intervals, and saves a picture from each camera. It records as
    `run` would, without inference, and keeps only the pictures.
    """
    from posestream.stream.commands.cameras import probe_rig, show_probe
    from posestream.stream.rig import load_rig
    from posestream.stream.run.display import TerminalDisplay

    rig = load_rig(rig_file, changes)
    with TerminalDisplay() as display:
        result = probe_rig(rig, rig_file.absolute().parent, seconds, pictures, display)
    click.echo(json.dumps(result) if as_json else "\n".join(show_probe(result)))
    sys.exit(FAILED if result["problems"] else OK)


@click.command()
@click.argument("rig_file", metavar="[RIG.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Folder that the session folder goes into.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@interruptible
def doctor(rig_file: Path | None, output: Path | None, as_json: bool) -> None:
    """Check this machine, or a rig on it.

    Says what works here, what does not, why, and what to do: encoders, cameras, engines, network, disk, clock. With
    RIG.toml, the rig's encoders, cameras and network are tried, and doctor says how many poses a second to expect.
    Exit status 1: something keeps posestream from working.
    """
    from dataclasses import asdict

    from posestream.stream.commands.doctor import examine
    from posestream.stream.rig import load_rig
    from posestream.stream.run.fitting import terminal_width, wrap

    rig = load_rig(rig_file) if rig_file is not None else None
    folder = output or Path(rig.session.output if rig is not None else "recordings")
    findings = []
    for finding in examine(folder, rig, (rig_file or Path()).absolute().parent):
        findings.append(finding)
        if not as_json:
            lines = [f"{finding.level:<8}{finding.part:<9}{finding.text}", *filter(None, [finding.advice])]
            click.echo(wrap("\n".join(lines), terminal_width(sys.stdout), 17, hanging=True))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings]))
    sys.exit(FAILED if any(finding.level == "problem" for finding in findings) else OK)
