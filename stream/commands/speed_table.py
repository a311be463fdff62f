"""What `posestream bench speed` measured, as a table."""

from typing import Any

from posestream.inference.bench.cells import PEER
from posestream.stream.commands.tables import markdown_table

__all__ = ["speed_table"]


def speed_table(result: dict[str, Any]) -> list[str]:
    """Give the lines of what was measured, for people."""
    machine, versions = result["machine"], result["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    lines = [f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; {named}", ""]
    rows = [_shown(row) for row in result["cells"]]
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    lines += markdown_table([{name: row[name] for name in columns} for row in rows])
    lines += [f"not measured: {what}: {why}" for what, why in result["refused"].items()]
    return lines + [f"stopped before the end: {result['stopped']}"] * bool(result["stopped"])


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """Give a row as it is printed; what nobody knows is empty."""
    speed, share, work = row["frames_per_second"], row["share_of_matrix_rate"], row["multiply_adds"]
    frames = f"{row['width']}x{row['height']}" + (f", window {row['window']}" if row["window"] else "")
    times, apart = row.get("times_the_peer"), row["from_float32_px"]
    published = row["published_frames_per_second"]
    decoding = row["decode_ms"]
    return {
        "frames": frames,
        "batch": str(row["batch"]),
        "engine": f"{row['engine']} {row['precision']}" + ("" if row["decoder"] == "graph" else f", {row['decoder']}"),
        "frames/s (5 to 95 %)": f"{speed['median']:.1f} ({speed['p5']:.1f} to {speed['p95']:.1f})",
        "ms a batch": f"{row['batch_ms']:.1f}",
        "of it decoding": f"{decoding:.2f} ({decoding / row['batch_ms']:.2%})" if decoding is not None else "",
        f"times {PEER}": f"{times:.1f}" if times is not None else "",
        "from float32, mean px (largest)": f"{apart['mean']:.3f} ({apart['largest']:.2f})" if apart else "",
        "GFLOP a frame": f"{2e-9 * work:.1f}" if work else "",
        "of the matrix rate": f"{share:.0%}" if share else "",
        "published: RTX 2080 Ti, Xeon": f"{published[0]}, {published[1]}" if published else "",
    }
