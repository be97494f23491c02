"""Plots of `compare`. Needs matplotlib, from the extra `lab`."""

from __future__ import annotations

from pathlib import Path

from models.api import ModelError
from models.lab.convergence import ABOVE_FLOOR, FIT_POINTS
from models.sampling.samplers import SAMPLERS
from models.training.evaluation.grids import to_pixels

try:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
except ImportError as missing:
    raise ModelError(f'the report needs {missing.name}: pip install -e ".[lab]"') from missing

SIZE = (7.0, 4.6)  # inches, per plot
DPI = 110
LEAST = 1e-7  # lower limit of errors on a logarithmic axis


def draw_all(figures: dict, folder: Path) -> list[Path]:
    """Write every plot as PNG; return the files."""
    made = [filmstrip(figures["contenders"], folder / "filmstrip.png")]
    for name, one in figures["contenders"].items():
        if one.get("errors"):
            made.append(convergence(name, one, folder / f"convergence-{name}.png"))
        if one.get("strengths"):
            made.append(strengths(name, one["strengths"], folder / f"strengths-{name}.png"))
    if figures["curves"]:
        made.append(learning(figures["curves"], folder / "learning.png"))
    made.append(quality(figures["rows"], folder / "quality.png"))
    made.append(straightness(figures["contenders"], folder / "straightness.png"))
    made.append(paths(figures["contenders"], folder / "paths.png"))
    return made


def save(figure, path: Path) -> Path:
    for axis in (part for axes in figure.axes for part in (axes.xaxis, axes.yaxis)):
        if axis.get_scale() == "log":  # plain tick labels without overlap
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high < 100 * low else (1,)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
    figure.tight_layout()
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    pyplot.close(figure)
    return path


def filmstrip(contenders: dict, path: Path) -> Path:
    """Plot one row per contender with its network's predictions at some of its steps."""
    films = {name: one["film"] for name, one in contenders.items()}
    across = max(len(film["shown"]) for film in films.values())
    side = max(1.2, next(iter(films.values()))["strip"].shape[-1] / DPI)  # inches
    size = (side * across + 1.6, (side + 0.25) * len(films))
    figure, grid = pyplot.subplots(len(films), across, figsize=size, squeeze=False)
    for row, (name, film) in zip(grid, films.items(), strict=True):
        for axes in row:
            axes.axis("off")
        for axes, step, picture in zip(row, film["shown"], to_pixels(film["strip"]), strict=False):
            axes.imshow(picture)
            axes.set_title(f"step {step}", fontsize=8, pad=2)
        words = f"{name}\n{SAMPLERS[film['sampler']].label}\n{film['steps']} steps"
        row[0].text(-0.08, 0.5, words, transform=row[0].transAxes, fontsize=9, ha="right", va="center")
    return save(figure, path)


def convergence(name: str, one: dict, path: Path) -> Path:
    """Plot error against evaluations on logarithmic axes, with the fitted order in the legend."""
    figure, axes = pyplot.subplots(figsize=SIZE)
    for sampler, lines in one["errors"].items():
        entry, order = SAMPLERS[sampler], one["orders"][sampler]
        words = f"{entry.label}, order {order:.2f}" if entry.order and order is not None else entry.label
        style = "o-" if entry.order else "x--"
        axes.loglog(
            [e["evaluations"] for e in lines],
            [max(e["error"], LEAST) for e in lines],
            style,
            label=words,
            ms=4,
        )
    axes.axhline(max(one["floor"], LEAST), color="0.7", lw=1, label="floor of the converged solution")
    axes.set(xlabel="evaluations of the network", ylabel="RMS distance to the converged solution", title=name)
    axes.grid(alpha=0.3, which="both")
    title = f"order: fitted to the {FIT_POINTS} finest above {ABOVE_FLOOR:g} times the floor"
    axes.legend(fontsize=7, title=title, title_fontsize=7)
    return save(figure, path)


def quality(rows: list[dict], path: Path) -> Path:
    """Plot swd against milliseconds: one panel per contender, one colour per sampler."""
    names = list(dict.fromkeys(row["contender"] for row in rows))
    samplers = [name for name in SAMPLERS if any(row["sampler"] == name for row in rows)]
    colors = dict(zip(samplers, (*(f"C{i}" for i in range(10)), "black", "gold"), strict=False))
    size = (3.4 * len(names), 4.6)
    figure, grid = pyplot.subplots(1, len(names), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        for sampler in samplers:
            line = [row for row in rows if (row["contender"], row["sampler"]) == (name, sampler)]
            ms, swd = [row["ms"] for row in line], [row["swd"] for row in line]
            axes.loglog(ms, swd, "o-", ms=3, color=colors[sampler])
        axes.set(title=name, xlabel="milliseconds a picture")
        axes.grid(alpha=0.3, which="both")
    grid[0][0].set_ylabel("swd to held-out views (less is better)")
    shown = [Line2D([], [], marker="o", ms=3, color=colors[sampler]) for sampler in samplers]
    words = [SAMPLERS[sampler].label for sampler in samplers]
    figure.legend(shown, words, loc="upper center", bbox_to_anchor=(0.5, 0), fontsize=8, ncols=6)
    return save(figure, path)


def learning(curves: dict[str, list[dict]], path: Path) -> Path:
    """Plot quality against images seen, to compare how fast flows and diffusions learn."""
    figure, grid = pyplot.subplots(1, 2, figsize=(9.0, 4.2))
    for axes, what in zip(grid, ("denoising_error", "swd"), strict=True):
        for name, line in curves.items():
            axes.loglog([e["images"] for e in line], [e[what] for e in line], "o-", ms=3, label=name)
        axes.set(xlabel="images seen in training", ylabel=what.replace("_", " "))
        axes.grid(alpha=0.3, which="both")
    grid[0].legend(fontsize=7)
    return save(figure, path)


def strengths(name: str, lines: list[dict], path: Path) -> Path:
    """Plot error against steps, one line per strength, to show whether a short path needs fewer steps."""
    figure, axes = pyplot.subplots(figsize=SIZE)
    for line in lines:
        words = f"strength {line['strength']:g}, way {line['way']:.2f}"
        steps, error = zip(*((e["steps"], max(e["error"], LEAST)) for e in line["errors"]), strict=True)
        axes.loglog(steps, error, "o-", ms=4, label=words)
    axes.set(xlabel="steps", ylabel="RMS distance to the converged picture", title=name)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7)
    return save(figure, path)


def straightness(contenders: dict, path: Path) -> Path:
    figure, axes = pyplot.subplots(figsize=SIZE)
    names = list(contenders)
    values = [contenders[name]["straightness"]["bend"] for name in names]
    bars = axes.bar(names, values, color=[f"C{i}" for i in range(len(names))])
    words = "mean of |velocity - chord|$^2$ over |chord|$^2$"
    axes.set(
        yscale="log" if min(values) > 0 else "linear", ylabel=words, title="bend of the paths: 0 is straight"
    )
    axes.bar_label(bars, fmt="%.3f", fontsize=8)
    return save(figure, path)


def paths(contenders: dict, path: Path) -> Path:
    """Plot pixel values over time (top) and the path in its first two principal components (bottom)."""
    count = len(contenders)
    figure, grid = pyplot.subplots(2, count, figsize=(3.0 * count, 5.2), squeeze=False)
    for column, (name, one) in enumerate(contenders.items()):
        grid[0][column].plot(one["times"], one["pixels"], lw=1)
        grid[0][column].invert_xaxis()
        grid[0][column].set(title=name, xlabel="time")
        along = [point[0] for point in one["components"]], [point[1] for point in one["components"]]
        grid[1][column].plot(*along, ".-", ms=3, lw=1)
        grid[1][column].set(xlabel="first component", aspect="equal", adjustable="datalim")
    grid[0][0].set_ylabel("value of five pixels")
    grid[1][0].set_ylabel("second component")
    return save(figure, path)
