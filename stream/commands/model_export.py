"""`posestream model export`: the network as one file of ONNX, and the proof that it gives the same poses."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from posestream.inference.engines.check import LIMIT_LIKELIHOOD, LIMIT_PX
from posestream.inference.engines.exported import Proof, prove_export
from posestream.inference.engines.quantise import spread_frames
from posestream.inference.errors import ModelError
from posestream.inference.formats.models import load_model
from posestream.inference.networks.onnx_graph import OPSET, onnx_graph
from posestream.stream.commands.tables import markdown_table
from posestream.stream.disk.durable import replacing
from posestream.stream.offline.progress import Progress
from posestream.stream.wire.messages import CHANNELS, PixelFormat

__all__ = ["export_model", "print_export"]


def export_model(
    source: Path,
    *,
    output: Path | None,
    pixel_format: PixelFormat,
    half: bool,
    video: Path | None,
    frames: int,
    tell: Callable[[str], None] = lambda _: None,
    show: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Write a model as ONNX, and return what is to be shown.

    Parameters
    ----------
    source
        The model.
    output
        The file; by default the model's name with `.onnx`, in the current folder.
    pixel_format
        Of the frames that the graph takes.
    half
        Whether the network computes in float16.
    video
        Frames to hold the file against float32 on; None: it is not.
    frames
        How many, spread over the video.
    tell
        Called with what is being done now.
    show
        Called after every frame.

    Raises
    ------
    ModelError
        The model or the video cannot be read, the model is a frozen graph, or the file is there already or cannot be
        written.
    """
    tell("loading the network")
    bundle = load_model(source)
    path = output or Path(f"{bundle.spec.name}.onnx")
    if path.exists():
        raise ModelError(f"{path} exists already. Name another file with --output, or remove it first.")
    pictures = spread_frames(video, frames, None) if video is not None else None  # refused before a file is there
    tell("writing the graph")
    graph = onnx_graph(bundle, pixel_format, half=half)
    try:
        with replacing(path) as partial:
            partial.write_bytes(graph.SerializeToString())
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror or error}.") from error
    proofs: list[Proof] = []
    if video is not None and pictures is not None:
        tell("compiling the network")

        def shown(done: int, total: int, seconds: float) -> None:
            show(Progress(video.name, done, total, seconds))

        proofs = prove_export(path, bundle, pictures, pixel_format, show=shown)
    return {
        "model": bundle.spec.name,
        "file": str(path),
        "bytes": path.stat().st_size,
        "opset": OPSET,
        "precision": "float16" if half else "float32",
        "input": {"name": "frames", "dtype": "uint8", "shape": ["batch", "height", "width", CHANNELS[pixel_format]]},
        "pixel_format": pixel_format,
        "output": {"name": "poses", "dtype": "float32", "shape": ["batch", len(bundle.spec.bodyparts), 3]},
        "bodyparts": list(bundle.spec.bodyparts),
        "checked": [asdict(proof) | {"within_limits": proof.within_limits} for proof in proofs],
        "within_limits": half or all(proof.within_limits for proof in proofs),
    }


def print_export(result: dict[str, Any]) -> None:
    """Print the result for people."""
    shape = "x".join(map(str, result["input"]["shape"]))
    click.echo(f"made {result['file']} ({result['bytes'] / 1e6:.0f} MB), ONNX with operator set {result['opset']}")
    click.echo(f"input frames: uint8 {shape}, {result['pixel_format']}, any batch and size")
    click.echo(f"output poses: float32 batch x {len(result['bodyparts'])} x 3: x and y in pixels, likelihood")
    if not result["checked"]:
        return
    rows = []
    for number in range(len(result["checked"][0]["px"])):
        row: dict[str, object] = {"frame": f"{number + 1} of {len(result['checked'][0]['px'])}"}
        for proof in result["checked"]:
            row[f"{proof['runtime']}: px"] = f"{proof['px'][number]:.6f}"
            row[f"{proof['runtime']}: likelihood"] = f"{proof['likelihood'][number]:.1e}"
        rows.append(row)
    click.echo("Largest differences from float32 (TensorFlow) over the body parts of each frame:")
    click.echo("\n".join(markdown_table(rows)))
    for proof in result["checked"]:
        ties = f"; {proof['tied']} poses of peaks that tie are left out" if proof["tied"] else ""
        click.echo(
            f"{proof['runtime']} {proof['version']}: at most {max(proof['px']):.6f} px and "
            f"{max(proof['likelihood']):.1e} in likelihood over {len(rows)} frames{ties}"
        )
    if result["precision"] == "float32":
        verdict = "within" if result["within_limits"] else "NOT within"
        click.echo(f"{verdict} the limits of {LIMIT_PX:g} px and {LIMIT_LIKELIHOOD:g}")
