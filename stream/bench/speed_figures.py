"""Figures 2 and 4 of Mathis & Warren 2018, of a measurement on this machine."""

from pathlib import Path
from typing import Any

__all__ = ["draw_figures"]


def draw_figures(folder: Path, result: dict[str, Any]) -> list[Path]:
    """Draw what there is enough of; gives the files, none where Matplotlib is not installed.

    `speed-batches.png` is figure 2, frames a second against the batch size, a line for each frame size and a panel for
    each engine; `speed-decoders.png` is figure 4, against the frames' width, a line for each decoder and batch size.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: F401 - whether it is there
    except ImportError:
        return []
    cells = [cell for cell in result["cells"] if cell["window"] is None]
    drawn = [_by_batch(folder / "speed-batches.png", cells)]
    if len({cell["decoder"] for cell in cells}) > 1:
        drawn.append(_by_width(folder / "speed-decoders.png", cells))
    return drawn


def _by_batch(path: Path, cells: list[dict[str, Any]]) -> Path:
    graph = [cell for cell in cells if cell["decoder"] == "graph"] or cells
    panels = list(dict.fromkeys((cell["engine"], cell["precision"]) for cell in graph))
    figure, axes = _panels(len(panels))
    for panel, (engine, precision) in zip(axes, panels, strict=True):
        for size in sorted({(cell["width"], cell["height"]) for cell in graph}):
            line = [
                cell
                for cell in graph
                if (cell["engine"], cell["precision"]) == (engine, precision)
                and (cell["width"], cell["height"]) == size
            ]
            _line(panel, line, "batch", f"{size[0]}x{size[1]}")
        panel.set(title=f"{engine}, {precision}", xlabel="batch size, frames")
        panel.set_xscale("log", base=2)
        batches = sorted({cell["batch"] for cell in graph})
        panel.set_xticks(batches, list(map(str, batches)))
    return _save(figure, axes, path)


def _by_width(path: Path, cells: list[dict[str, Any]]) -> Path:
    own = [cell for cell in cells if cell["engine"] == "tensorflow"]
    panels = list(dict.fromkeys(cell["precision"] for cell in own))
    figure, axes = _panels(len(panels))
    names = {"loop": ("double loop", ":"), "numpy": ("NumPy", "--"), "graph": ("in the graph", "-")}
    batches = sorted({cell["batch"] for cell in own})
    for panel, precision in zip(axes, panels, strict=True):
        for decoder, (name, style) in names.items():
            for number, batch in enumerate(batches):
                line = [
                    cell
                    for cell in own
                    if (cell["precision"], cell["decoder"], cell["batch"]) == (precision, decoder, batch)
                ]
                _line(panel, line, "width", f"{name}, batches of {batch}", color=f"C{number}", linestyle=style)
        widths = sorted({cell["width"] for cell in own})
        panel.set(title=f"tensorflow, {precision}", xlabel="width of the frames, px", xscale="log")
        panel.set_xticks(widths, list(map(str, widths)))
        panel.minorticks_off()
    return _save(figure, axes, path)


def _panels(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * count + 2, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def _line(panel: Any, cells: list[dict[str, Any]], against: str, label: str, **style: Any) -> None:
    if not cells:
        return
    cells = sorted(cells, key=lambda cell: int(cell[against]))
    places = [cell[against] for cell in cells]
    speeds = [cell["frames_per_second"] for cell in cells]
    medians = [speed["median"] for speed in speeds]
    (drawn,) = panel.plot(places, medians, marker="o", markersize=4, label=label, **style)
    spread = [speed["p5"] for speed in speeds], [speed["p95"] for speed in speeds]
    panel.fill_between(places, *spread, color=drawn.get_color(), alpha=0.2, linewidth=0)


def _save(figure: Any, axes: list[Any], path: Path) -> Path:
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    for panel in axes:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3, which="both")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    axes[0].set_ylabel("frames a second (median, 5 to 95 %)")
    figure.savefig(path, dpi=120)
    return path
