"""The command line. Everything heavy is imported by the command that needs it, so that help comes at once."""

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from posestream.stream.wire.interrupts import hangup_is_interrupt, take_interrupts

if TYPE_CHECKING:
    from posestream.stream.rig import Rig
    from posestream.stream.run.supervisor import StartError

__all__ = ["main"]

OK, FAILED, WRONG_USE = 0, 1, 2
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")


class _Commands(click.Group):
    """Turns errors into sentences; `--debug` shows the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(OK)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(FAILED)
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {type(error).__name__}: {error} (posestream --debug shows more)", err=True)
            sys.exit(FAILED)


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that works in libraries for seconds answer Ctrl-C at once, and end soon."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        from posestream.stream.commands.ctrl_c import answer_interrupts

        def tell(text: str) -> None:
            click.echo(text, err=True)

        try:
            with answer_interrupts("interrupted; ending", tell, busy=lambda: True):
                command(*args, **kwargs)
        except KeyboardInterrupt:
            sys.exit(FAILED)

    return wrapped


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="posestream")
def main(debug: bool) -> None:
    """Record lab cameras with H.264 and stream DeepLabCut poses at the same time.

    Exit status: 0 as asked, 1 the work failed or data was lost, 2 wrong use.
    """
    if debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0")  # else `posestream.inference` keeps TensorFlow quiet
    hangup_is_interrupt()


@main.command()
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
    from posestream.stream.rig import RigError, load_rig

    if model is not None:
        changes = (*changes, f"inference.model={json.dumps(_named(model))}")
    try:
        rig = load_rig(rig_file, changes)
    except RigError as error:
        _fail(str(error), WRONG_USE)
    _run(rig, rig_file.absolute().parent, seconds, output, as_json)


@main.command()
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

    _run(demo_rig(_named(model) if model is not None else DEMO_MODEL), Path.cwd(), seconds, output, as_json)


@main.command()
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
    from posestream.stream.commands.subscribe import SubscribeError, show_poses

    try:
        sys.exit(show_poses(**options))
    except SubscribeError as error:
        _fail(str(error), WRONG_USE)


@main.command()
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
    from posestream.stream.run.joining import JoinError, join_run

    try:
        sys.exit(join_run(role, control, keys, wait_s, debug=_debug(), tell=lambda text: click.echo(text, err=True)))
    except JoinError as error:
        _fail(str(error), WRONG_USE)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def keys(folder: Path) -> None:
    """Make a folder of keys, for a rig on several machines."""
    from posestream.stream.wire.keys import KeysError, create_keys

    try:
        create_keys(folder)
    except (KeysError, OSError) as error:
        _fail(str(error), WRONG_USE)
    where = folder.absolute().as_posix()
    click.echo(f"made keys in {folder}; copy the folder to each machine, and in the rig, under [network], write:")
    click.echo(f'keys = "{where}"    # or its path from the folder of the rig file')


@main.command()
@click.argument("session", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def verify(session: Path, as_json: bool) -> None:
    """Prove or refute that SESSION accounts for every frame: decodes the video and checks every table."""
    from posestream.stream.offline.progress import reading
    from posestream.stream.run.display import TerminalDisplay
    from posestream.stream.session.lost import say_lost
    from posestream.stream.session.reader import NoSessionError
    from posestream.stream.session.verify import verify_session

    try:
        with TerminalDisplay(quiet=not sys.stderr.isatty()) as display:
            found = verify_session(session, reading("files", display.progress))
    except NoSessionError as error:
        _fail(str(error), WRONG_USE)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for camera, counts in found["cameras"].items():
            lost = counts.pop("lost", None)
            click.echo(f"camera {camera}: {', '.join(f'{count} {name}' for name, count in counts.items())}")
            if lost is not None:
                click.echo(f"camera {camera}: {say_lost(lost)}")
        for problem in found["problems"]:
            click.echo(f"problem: {_plain(problem)}")
        for text in found["not_provable"]:
            click.echo(f"not provable: {_plain(text)}")
        click.echo(_verdict(found))
    sys.exit(OK if found["proved"] else FAILED)


@main.command()
@click.argument("session", type=click.Path(path_type=Path))
def recover(session: Path) -> None:
    """Close what a crash left open in SESSION, and write DeepLabCut's files."""
    from posestream.stream.disk.lock import InUseError
    from posestream.stream.offline.progress import reading
    from posestream.stream.run.display import TerminalDisplay
    from posestream.stream.session.reader import NoSessionError
    from posestream.stream.session.recover import recover_session

    try:
        with TerminalDisplay(quiet=not sys.stderr.isatty()) as display:
            done = recover_session(session, reading("files", display.progress))
    except (NoSessionError, InUseError) as error:
        _fail(str(error), WRONG_USE)
    except (OSError, ValueError) as error:
        _fail(f"{session} can't be recovered: {error}", FAILED)
    for text in done or ["nothing to do: the session was closed"]:
        click.echo(_plain(text))


@main.group(invoke_without_command=True)
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
    from posestream.stream.rig import RigError, load_rig
    from posestream.stream.run.display import TerminalDisplay
    from posestream.stream.run.supervisor import NothingRecordedError, WrongUseError

    try:
        with TerminalDisplay() as display:
            result = probe_rig(load_rig(rig_file, changes), rig_file.absolute().parent, seconds, pictures, display)
    except RigError as error:
        _fail(str(error), WRONG_USE)
    except WrongUseError as error:
        _fail_start(error, WRONG_USE)
    except NothingRecordedError as error:
        _fail_start(error, FAILED)
    click.echo(json.dumps(result) if as_json else "\n".join(show_probe(result)))
    sys.exit(FAILED if result["problems"] else OK)


@main.command()
@click.argument("rig_file", metavar="[RIG.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Folder that the session folder goes into.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@_interruptible
def doctor(rig_file: Path | None, output: Path | None, as_json: bool) -> None:
    """Check this machine, or a rig on it.

    Says what works here, what does not, why, and what to do: encoders, cameras, engines, network, disk, clock. With
    RIG.toml, the rig's encoders, cameras and network are tried, and doctor says how many poses a second to expect.
    Exit status 1: something keeps posestream from working.
    """
    from dataclasses import asdict

    from posestream.stream.commands.doctor import examine
    from posestream.stream.rig import RigError, load_rig
    from posestream.stream.run.fitting import terminal_width, wrap

    try:
        rig = load_rig(rig_file) if rig_file is not None else None
    except RigError as error:
        _fail(str(error), WRONG_USE)
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


@main.command()
@click.argument("session", type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(path_type=Path), help="Another model than the one that the session ran.")
@click.option("--camera", help="One camera only.")
@click.option("--batch-size", type=click.IntRange(1, 1024), help="Frames inferred together; as in the rig by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def backfill(session: Path, as_json: bool, **options: Any) -> None:
    """Compute from SESSION's video the poses that live inference skipped; Ctrl-C keeps what was computed."""
    from posestream.stream.disk.lock import InUseError
    from posestream.stream.offline.backfill import Backfill, BackfillError
    from posestream.stream.run.display import TerminalDisplay, print_backfill
    from posestream.stream.session.reader import NoSessionError

    with TerminalDisplay(quiet=not sys.stderr.isatty()) as display:
        work = Backfill(session, show=lambda done: display.progress(done.values), tell=display.phase, **options)
        take_interrupts(work.stop)
        try:
            result = work.run()
        except (BackfillError, InUseError, NoSessionError) as error:
            _fail(str(error), WRONG_USE)
        except (OSError, ValueError) as error:
            _fail(f"{session} can't be backfilled: {error}", FAILED)
    click.echo(json.dumps(result)) if as_json else print_backfill(result)
    sys.exit(FAILED if result["problems"] or result["without_pose"] else OK)


@main.command()
@click.argument("given", metavar="VIDEO...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", required=True, type=click.Path(path_type=Path), help="The network.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder for the results; by default each video's own.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1, 1024), help="Frames run together.")
@click.option(
    "--scale",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 8, min_open=True),
    help="Shrink frames to this share of their width and height.",
)
@click.option("--crop", metavar="X,Y,WIDTH,HEIGHT", help="Show the network only this region, in pixels.")
@click.option(
    "--window",
    "sides",
    metavar="SIDE",
    multiple=True,
    type=int,
    help="Follow one animal with a window of this side, a multiple of 32 pixels; repeatable: the smallest that fits.",
)
@click.option(
    "--window-margin",
    "margin_px",
    type=click.IntRange(min=0),
    help="Minimum distance of the animal to the window's edge, in pixels; 64 by default.",
)
@click.option(
    "--window-threshold",
    "threshold",
    type=click.FloatRange(0, 1),
    help="Likelihood from which a body part is confident; 0.6 by default.",
)
@click.option(
    "--window-check",
    "check_every",
    type=click.IntRange(min=1),
    help="Run on the whole frame every so many frames; 100 by default.",
)
@click.option("--overwrite", is_flag=True, help="Analyse videos again that have results.")
@click.option("--engine", default="auto", show_default=True, help="auto, openvino, tensorflow, or a plugin's name.")
@click.option(
    "--precision", default="auto", show_default=True, type=click.Choice(PRECISIONS), help="Numbers to compute with."
)
@click.option("--threads", type=click.IntRange(min=1), help="Cores for the network; all by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def analyze(
    given: tuple[Path, ...],
    scale: float,
    crop: str | None,
    sides: tuple[int, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Track every frame of videos and write DeepLabCut's files.

    A folder stands for the videos in it. Poses are in pixels of the video, whatever --scale and --crop. Ctrl-C keeps
    what was computed; the same command resumes there. Exit status 1: a video could not be read completely.
    """
    from posestream.inference.errors import ModelError, VideoError
    from posestream.inference.windows.following import FollowSettings
    from posestream.inference.windows.framing import Framing, parse_region
    from posestream.stream.commands.ctrl_c import answer_interrupts
    from posestream.stream.offline.analyze import Analyses, AnalyzeError, AnalyzeSettings, find_videos
    from posestream.stream.run.display import TerminalDisplay, print_analysis

    try:
        framing = Framing(parse_region(crop) if crop else None, scale)
        named = {name: options.pop(name) for name in ("margin_px", "threshold", "check_every")}
        how = {name: value for name, value in named.items() if value is not None}
        if how and not sides:
            _fail("how the window follows was given, but no window: add --window SIDE", WRONG_USE)
        follow = FollowSettings(sides=sides, **how) if sides else None
        videos = find_videos(given, options["output"])
    except (AnalyzeError, VideoError, ValueError) as error:
        _fail(str(error), WRONG_USE)
    settings = AnalyzeSettings(framing=framing, follow=follow, **options)
    try:
        with TerminalDisplay(quiet=not sys.stderr.isatty()) as display:
            work = Analyses(videos, settings, show=lambda done: display.progress(done.values), tell=display.phase)
            take_interrupts(work.stop)

            kept = "stopping; the poses so far are kept"
            with answer_interrupts(kept, display.notice, busy=lambda: work.loading):
                result = work.run()
    except (AnalyzeError, ModelError) as error:
        _fail(str(error), WRONG_USE)
    click.echo(json.dumps(result)) if as_json else print_analysis(result)
    sys.exit(FAILED if result["problems"] or result["stopped"] else OK)


@main.group()
def model() -> None:
    """Import, inspect, check and optimise networks."""


@model.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How weights are stored.",
)
@_interruptible
def model_import(source: Path, bundle: Path, dtype: Any) -> None:
    """Convert a DeepLabCut model to a bundle.

    SOURCE is a project, a train folder, a snapshot or an export of DeepLabCut; BUNDLE is the folder to make.
    """
    from posestream.inference.errors import ModelError
    from posestream.inference.formats.models import load_model

    try:
        load_model(source).save(bundle, dtype)
    except ModelError as error:
        _fail(str(error), WRONG_USE)
    click.echo(f"made {bundle}")


@model.command("info")
@click.argument("source", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_interruptible
def model_info(source: Path, as_json: bool) -> None:
    """Show a model's body parts, network and origin."""
    import msgspec

    from posestream.inference.errors import ModelError
    from posestream.inference.formats.models import load_model

    try:
        spec = msgspec.to_builtins(load_model(source).spec)
    except ModelError as error:
        _fail(str(error), WRONG_USE)
    if as_json:
        click.echo(json.dumps(spec))
        return
    for key, value in spec.items():
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        click.echo(_plain(f"{key}: {text}"))


@model.command("check")
@click.argument("source", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--video", type=click.Path(path_type=Path), help="Run on this video's frames; by default, on noise of 640x480."
)
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Poses from DeepLabCut to compare with (.npz); repeatable.",
)
@click.option(
    "--frames", default=64, show_default=True, type=click.IntRange(min=1), help="Frames to run, without --against."
)
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1, 512), help="Frames run together.")
@click.option("--engine", default="auto", show_default=True, help="auto, openvino, tensorflow, or a plugin's name.")
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Numbers to compute with; by default float32 with --against, auto otherwise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_interruptible
def model_check(source: Path, as_json: bool, **options: Any) -> None:
    """Measure a model's speed, and compare it with DeepLabCut.

    Without --against, it runs on noise or on a video. Exit status 1: a pose differs from DeepLabCut's by more than
    0.05 px or 0.001 in likelihood. Where two peaks tie within 0.0001, only the likelihoods are compared.
    """
    from posestream.inference.errors import ModelError
    from posestream.stream.commands.model_check import check_model, print_check
    from posestream.stream.run.display import TerminalDisplay

    try:
        with TerminalDisplay() as display:
            result = check_model(source, tell=display.phase, show=lambda done: display.progress(done.values), **options)
    except ModelError as error:
        _fail(str(error), WRONG_USE)
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_check(result)
    sys.exit(OK if result["within_limits"] else FAILED)


@model.command("optimize")
@click.argument("source", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--precision", required=True, type=click.Choice(["int8"]), help="Numbers to compute with.")
@click.option(
    "--calibrate",
    "video",
    required=True,
    type=click.Path(path_type=Path),
    help="A video like those that it will run on.",
)
@click.option(
    "--output",
    metavar="BUNDLE",
    type=click.Path(path_type=Path),
    help="A new bundle for the result; by default it goes into MODEL's.",
)
@click.option(
    "--size", metavar="WIDTHxHEIGHT", help="Size of the frames that the network will get; by default the video's."
)
@click.option("--frames", default=48, show_default=True, type=click.IntRange(1, 1024), help="Frames to calibrate on.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_interruptible
def model_optimize(source: Path, precision: str, size: str | None, as_json: bool, **options: Any) -> None:  # noqa: ARG001
    """Make a faster int8 version of a model.

    It ends with how far the int8 poses are from float32's, on frames that it was not calibrated on, and how much faster
    it is. It needs NNCF: pip install "posestream[optimize]".
    """
    from posestream.inference.errors import ModelError
    from posestream.stream.commands.model_optimize import optimise_model, print_optimised

    numbers = (size or "").split("x")
    if size is not None and not (len(numbers) == 2 and all(number.isdigit() and int(number) for number in numbers)):
        _fail(f"--size {size}: a size is width and height in pixels, such as 320x240", WRONG_USE)
    try:
        shrunk = (int(numbers[0]), int(numbers[1])) if size is not None else None
        result = optimise_model(source, size=shrunk, **options)
    except ModelError as error:
        _fail(str(error), WRONG_USE)
    click.echo(json.dumps(result)) if as_json else print_optimised(result)


@main.group()
def bench() -> None:
    """Measure what this machine can do."""


def _size(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, int]:
    width, by, height = text.partition("x")
    if not (by and width.isdecimal() and height.isdecimal() and 0 < int(width) <= 8192 and 0 < int(height) <= 8192):
        raise click.BadParameter(f"{text} is no size; write WIDTHxHEIGHT, such as 640x480.")
    return int(width), int(height)


def _numbers(kind: type[int] | type[float], low: float, high: float) -> Any:
    def parse(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[Any, ...]:
        try:
            numbers = tuple(kind(part) for part in text.split(","))
        except ValueError:
            numbers = ()
        if not numbers or not all(low <= number <= high for number in numbers):
            raise click.BadParameter(f"{text} is not a list of numbers from {low:g} to {high:g}, separated by commas.")
        return numbers

    return parse


def _engine_pairs(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> Any:
    pairs = [tuple(text.split(":")) for text in texts]
    if wrong := [text for text, pair in zip(texts, pairs, strict=True) if len(pair) != 2 or not all(pair)]:
        raise click.BadParameter(
            f"{wrong[0]} is no engine and precision; write NAME:PRECISION, such as openvino:bfloat16."
        )
    return tuple(dict.fromkeys(pairs))


@bench.command("speed")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--video", type=click.Path(path_type=Path), help="Video to take frames from; by default the simulated arena."
)
@click.option("--frames", default=32, show_default=True, type=click.IntRange(min=1), help="Frames to take.")
@click.option("--size", default="640x480", show_default=True, callback=_size, help="WIDTHxHEIGHT to resize them to.")
@click.option(
    "--scales", default="1,0.5", show_default=True, callback=_numbers(float, 0.01, 4), help="Shares of that size."
)
@click.option("--published", is_flag=True, help="Also time the sizes of DeepLabCut-Live's published table.")
@click.option(
    "--batch-sizes", default="1,8", show_default=True, callback=_numbers(int, 1, 1024), help="Frames run together."
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    default=("openvino:float32", "openvino:bfloat16", "openvino:int8", "tensorflow:float32"),
    show_default=True,
    callback=_engine_pairs,
    metavar="NAME:PRECISION",
    help="Engine and precision; repeatable.",
)
@click.option(
    "--decoder",
    "decoders",
    multiple=True,
    default=("graph",),
    show_default=True,
    type=click.Choice(["graph", "numpy", "loop"]),
    help="Decoder; repeatable. numpy and loop run on TensorFlow only.",
)
@click.option("--window", type=click.IntRange(min=64), help="Also time a window of this side that follows the animal.")
@click.option(
    "--window-margin",
    "margin_px",
    type=click.IntRange(min=0),
    help="Minimum distance of the animal to the window's edge; by default 64 px or a quarter of the side.",
)
@click.option("--repetitions", default=5, show_default=True, type=click.IntRange(min=1), help="Of each measurement.")
@click.option(
    "--seconds", default=0.5, show_default=True, type=click.FloatRange(min=0), help="Length of each measurement."
)
@click.option("--seed", default=0, show_default=True, type=int, help="Seed for the order of the measurements.")
@click.option("--threads", type=click.IntRange(min=1), help="Cores for posestream's engines.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="PYTHON",
    help="Python of an environment with DeepLabCut-Live, which is timed alternately on the same frames.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder for CSV, JSON and figures.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@_interruptible
def bench_speed(as_json: bool, **options: Any) -> None:
    """Time a model: sizes, batches, engines, precisions.

    Everything is measured several times in pseudorandom order.

    The paper's experiment: --scales 1,0.5,0.25,0.125 --batch-sizes 1,2,4,8,16,32,64 --decoder graph --decoder numpy
    --decoder loop. Figures need Matplotlib.
    """
    from posestream.inference.errors import ModelError
    from posestream.stream.bench.speed import SpeedSettings, measure_speed, speed_table

    try:
        result = measure_speed(SpeedSettings(**options), lambda text: click.echo(text, err=True))
    except ModelError as error:
        _fail(str(error), WRONG_USE)
    for line in [json.dumps(result)] if as_json else [*speed_table(result), *result["files"]]:
        click.echo(line)
    sys.exit(FAILED if result["stopped"] else OK)


@main.command()
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
@_interruptible
def train(project: Path, output: Path, as_json: bool, **options: Any) -> None:
    """Train a network on a DeepLabCut project's labels.

    PROJECT is a project with one animal. The checkpoint, the log and the learning curves go into a folder beside the
    bundle, BUNDLE.training.
    """
    from posestream.inference.errors import ModelError
    from posestream.stream.commands.train import show_errors, train_network

    def tell(text: str) -> None:
        click.echo(text, err=as_json)

    try:
        result = train_network(project, output, tell=tell, **options)
    except ModelError as error:
        _fail(str(error), WRONG_USE)
    click.echo(json.dumps(result) if as_json else "\n".join(show_errors(result)))


def _run(rig: "Rig", rig_folder: Path, seconds: float | None, output: Path | None, as_json: bool) -> None:
    from posestream.stream.commands.running import run_for_command
    from posestream.stream.run.display import TerminalDisplay, print_summary
    from posestream.stream.run.supervisor import NothingRecordedError, Supervisor, WrongUseError

    if seconds is not None:
        rig = rig.model_copy(update={"session": rig.session.model_copy(update={"seconds": seconds})})
    try:
        with TerminalDisplay() as display:
            outcome = run_for_command(Supervisor(rig, rig_folder, output or Path(rig.session.output), display))
    except WrongUseError as error:
        _fail_start(error, WRONG_USE)
    except NothingRecordedError as error:
        _fail_start(error, FAILED)
    try:
        if _debug():
            for title, place in outcome.places.items():
                click.echo(f"{title}:\n{place}", err=True)
        if as_json:
            click.echo(json.dumps(outcome.summary))
            for problem in outcome.summary["problems"]:
                click.echo(problem, err=True)
        else:
            print_summary(outcome.summary)
        for log in outcome.logs:
            click.echo(f"log: {log}", err=True)
    except (OSError, SystemExit):  # nobody reads it, and rich ends the program then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(outcome.status)


def _verdict(found: dict[str, Any]) -> str:
    if found["problems"]:
        return "refuted"
    if not found["proved"]:
        return "not proved: nothing was found wrong, but not everything can be shown"
    return "proved: every frame is accounted for, and every file is as it was when the session was closed"


def _named(model: Path) -> str:
    """Give a model as a rig names it: a network of the package by its name, others by their path from anywhere."""
    from posestream.inference.formats.bundled import bundled_networks

    by_name = not model.exists() and str(model) in bundled_networks()
    return str(model if by_name else model.absolute())


def _fail_start(error: "StartError", status: int) -> NoReturn:
    if error.place and _debug():
        click.echo(error.place, err=True)
    hint = "" if _debug() else " (posestream --debug shows the traceback)"
    _fail(str(error) + (f"\nlog: {error.log}{hint}" if error.log is not None else ""), status)


def _debug() -> bool:
    return bool(click.get_current_context().find_root().params["debug"])


def _fail(text: str, status: int) -> NoReturn:
    from posestream.stream.run.fitting import terminal_width, wrap

    click.echo(wrap(f"error: {_plain(text)}", terminal_width(sys.stderr)), err=True)
    sys.exit(status)


def _plain(text: str) -> str:
    """Give a text as a terminal may show it: what a stranger's file says must not move the cursor."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)
