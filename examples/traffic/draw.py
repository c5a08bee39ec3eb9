"""Draws the pictures of docs/algorithms.md from the CSV files beside them: each for light and for dark pages.

usage: draw.py DIRECTORY

The same data gives the same bytes. Each picture names the CRC-32 of its data, by which a test knows that it is current.
"""

import csv
import io
import itertools
import re
import sys
import zlib
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

LIMIT = 100
# Requests are drawn in bars of so many seconds.
BAR = 5

THEMES = {
    "light": {
        "text": "#1f2328",
        "grid": "#d1d9e0",
        "offered": "#c8ced6",
        "good": "#0072b2",
        "bad": "#d1242f",
        "lines": ["#0072b2", "#009e73", "#b35900", "#8250df", "#57606a"],
    },
    "dark": {
        "text": "#e6edf3",
        "grid": "#30363d",
        "offered": "#4a525c",
        "good": "#58a6ff",
        "bad": "#ff6b61",
        "lines": ["#58a6ff", "#3fb98f", "#f0883e", "#bc8cff", "#9198a1"],
    },
}

SCENARIOS = {
    "boundary-burst": "150 requests in the 5 s before a full minute, 150 in the 5 s after it, then 2 a second",
    "steady-overload": "200 requests a minute, from an idle start",
    "retry-storm": "250 callers at once at 45 s and 40 new ones a minute; who is denied asks again every 2 to 4 s",
}


def main(directory):
    """Draw every picture."""
    for theme in THEMES:
        matplotlib.rcParams.update(style(THEMES[theme]))
        for name, title in SCENARIOS.items():
            draw(directory, name, theme, partial(draw_scenario, title))
        draw(directory, "cost", theme, draw_cost)


def style(colors):
    """Return what all pictures of a theme share."""
    return {
        "svg.hashsalt": "redis-ratelimit",
        # Text stays text: smaller files, and it can be searched and read aloud.
        "svg.fonttype": "none",
        "font.size": 9,
        "text.color": colors["text"],
        "axes.labelcolor": colors["text"],
        "axes.titlesize": 10,
        "axes.edgecolor": colors["grid"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": colors["grid"],
        "grid.linewidth": 0.5,
        "xtick.color": colors["text"],
        "ytick.color": colors["text"],
        # The grid does.
        "xtick.bottom": False,
        "ytick.left": False,
        "legend.frameon": False,
        "savefig.transparent": True,
    }


def draw(directory, name, theme, make):
    """Write the picture that `make` makes of the data."""
    data = (directory / f"{name}.csv").read_bytes()
    figure = make(list(csv.DictReader(data.decode().splitlines())), THEMES[theme])
    svg = io.StringIO()
    figure.savefig(
        svg,
        format="svg",
        metadata={"Date": None, "Creator": None, "Description": f"{name}.csv, CRC-32 {zlib.crc32(data):08x}"},
    )
    pyplot.close(figure)
    # A tenth of a point is finer than any screen.
    short = re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", svg.getvalue())
    (directory / f"{name}-{theme}.svg").write_text(short)


def draw_scenario(title, rows, colors):
    """Draw a row for each limiter: what it admits of what is offered, and what each window of 60 s holds of it."""
    limiters = list(dict.fromkeys(row["limiter"] for row in rows))
    figure, axes = pyplot.subplots(len(limiters), 2, figsize=(9, 2 * len(limiters)), sharex=True, sharey="col")
    for limiter, (left, right) in zip(limiters, axes, strict=True):
        seconds = [row for row in rows if row["limiter"] == limiter]
        draw_requests(left, seconds, colors)
        draw_windows(right, seconds, colors)
        left.set_title(limiter, loc="left", weight="bold")
        left.set_ylabel(f"requests in {BAR} s")
        right.set_ylabel("in the last 60 s")
    for axis in axes[-1]:
        axis.set_xlabel("time, seconds")
        axis.set_xlim(0, len(seconds))
        axis.set_xticks(range(0, len(seconds) + 1, 60 if len(seconds) > 200 else 30))
    axes[0][1].set_ylim(0, 235)
    figure.legend(
        handles=[
            Patch(color=colors["offered"], label="offered"),
            Patch(color=colors["good"], label="admitted"),
            Line2D([], [], color=colors["text"], linestyle="--", linewidth=1, label=f"the limit: {LIMIT} in 60 s"),
            Patch(color=colors["bad"], label="above the limit"),
        ],
        loc="upper center",
        ncols=4,
        bbox_to_anchor=(0.5, 0.972),
    )
    figure.suptitle(title, y=0.992, size=10)
    figure.subplots_adjust(left=0.07, right=0.98, top=0.915, bottom=0.05, hspace=0.36, wspace=0.15)
    return figure


def draw_requests(axis, seconds, colors):
    """Draw what is admitted before what is offered."""
    starts = range(0, len(seconds), BAR)
    for column, color in (("offered", colors["offered"]), ("admitted", colors["good"])):
        bars = [sum(int(row[column]) for row in seconds[start : start + BAR]) for start in starts]
        fill(axis, bars, BAR, color)


def draw_windows(axis, seconds, colors):
    """Draw what the window that ends at each second holds, and what of it is above the limit."""
    held = [int(row["admitted_in_60_s"]) for row in seconds]
    most = max(held)
    broken = most > LIMIT
    fill(axis, held, 1, colors["bad"])
    fill(axis, [min(count, LIMIT) for count in held], 1, colors["good"])
    axis.axhline(LIMIT, color=colors["text"], linestyle="--", linewidth=1)
    axis.text(
        0.99,
        0.97,
        f"at most {most}",
        transform=axis.transAxes,
        ha="right",
        va="top",
        weight="bold",
        color=colors["bad"] if broken else colors["good"],
    )


def fill(axis, heights, width, color):
    """Draw bars of one width, side by side; neighbours of one height become one."""
    edges, tops = [0], []
    for height, same in itertools.groupby(heights):
        edges.append(edges[-1] + width * len(list(same)))
        tops.append(height)
    axis.stairs(tops, edges, fill=True, color=color, linewidth=0)


def draw_cost(rows, colors):
    """Draw what the bounded log costs against an exact one, over the limit."""
    figure, (volume, back, state) = pyplot.subplots(1, 3, figsize=(9, 3.3))
    limits = sorted({int(row["limit"]) for row in rows})
    traffics = list(dict.fromkeys(row["traffic"] for row in rows))
    for traffic, color in zip(traffics, colors["lines"], strict=True):
        of_it = [row for row in rows if row["traffic"] == traffic]
        shares = [100 * int(row["admitted"]) / int(row["admitted_by_exact_log"]) for row in of_it]
        volume.plot(limits, shares, marker="o", markersize=3, linewidth=1.2, color=color, label=traffic)
        shares = [100 * int(row["held_back"]) / int(row["requests"]) for row in of_it]
        back.plot(limits, shares, marker="o", markersize=3, linewidth=1.2, color=color)
    longest = [max(int(row["longest_state_bytes"]) for row in rows if int(row["limit"]) == limit) for limit in limits]
    state.plot(limits, [8 * limit for limit in limits], color=colors["bad"], linewidth=1.2, linestyle="--")
    state.plot(limits, longest, marker="o", markersize=3, linewidth=1.2, color=colors["good"])
    state.text(1_500, 30_000, "exact log", color=colors["bad"], ha="right")
    state.text(10_000, 75, "RL.CHECK", color=colors["good"], ha="right")
    volume.set_title("admitted, % of an exact log's", loc="left")
    volume.set_ylim(90, 101)
    back.set_title("denied though there was room,\n% of requests", loc="left")
    back.set_ylim(bottom=0)
    state.set_title("state, bytes", loc="left")
    state.set_yscale("log")
    for axis in (volume, back, state):
        axis.set_xscale("log")
        axis.set_xlabel("limit, units in 60 s")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.minorticks_off()
    state.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    figure.legend(loc="lower center", ncols=len(traffics), title="requests offered, as a multiple of the limit")
    figure.subplots_adjust(left=0.05, right=0.985, top=0.87, bottom=0.33, wspace=0.25)
    return figure


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: draw.py DIRECTORY")
    main(Path(sys.argv[1]))
