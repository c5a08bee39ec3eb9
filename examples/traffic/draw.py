"""Draws the pictures of docs/algorithms.md from CSV files.

usage: draw.py DATA PICTURES

The same data gives the same bytes. Each picture names the CRC-32 of its data, by which a test knows that it is current.
A picture has a style sheet with the colors of light and of dark pages.
"""

import csv
import io
import itertools
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
from scour import scour

LIMIT = 100
# Requests are drawn in bars of so many seconds.
BAR = 5

# What each color is for: on light pages, on dark pages.
COLORS = {
    "text": ("#1f2328", "#e6edf3"),
    "grid": ("#d1d9e0", "#30363d"),
    "offered": ("#c8ced6", "#4a525c"),
    "good": ("#0072b2", "#58a6ff"),
    "bad": ("#d1242f", "#ff6b61"),
    "line2": ("#009e73", "#3fb98f"),
    "line3": ("#b35900", "#f0883e"),
    "line4": ("#8250df", "#bc8cff"),
    "line5": ("#57606a", "#9198a1"),
}
LIGHT = {name: light for name, (light, _) in COLORS.items()}
# A rule of a style sheet goes before an attribute.
RULES = (f'[{what}="{light}"]{{{what}:{dark}}}' for light, dark in COLORS.values() for what in ("fill", "stroke"))
DARK = f"@media(prefers-color-scheme:dark){{{''.join(RULES)}}}"
LINES = [LIGHT[name] for name in ("good", "line2", "line3", "line4", "line5")]

SCENARIOS = {
    "boundary-burst": "150 requests in the 5 s before a full minute, 150 in the 5 s after it, then 2 a second",
    "steady-overload": "200 requests a minute, from an idle start",
    "retry-storm": "250 callers at once at 45 s and 40 new ones a minute; who is denied asks again every 2 to 4 s",
}


SCOUR = scour.parse_args(
    [
        "--strip-xml-prolog",
        "--remove-metadata",
        "--enable-comment-stripping",
        "--enable-id-stripping",
        "--shorten-ids",
        "--create-groups",
        # A tenth of a point is finer than any screen.
        "--set-precision=4",
        "--indent=none",
    ]
)

STYLE = {
    "svg.hashsalt": "redis-ratelimit",
    # Text stays text: smaller files, and it can be searched and read aloud.
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": LIGHT["text"],
    "axes.labelcolor": LIGHT["text"],
    "axes.titlesize": 10,
    "axes.edgecolor": LIGHT["grid"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.5,
    "xtick.color": LIGHT["text"],
    "ytick.color": LIGHT["text"],
    # The grid does.
    "xtick.bottom": False,
    "ytick.left": False,
    "legend.frameon": False,
    "savefig.transparent": True,
}


def main(data, pictures):
    """Draw every picture."""
    matplotlib.rcParams.update(STYLE)
    makers = {name: partial(draw_scenario, title) for name, title in SCENARIOS.items()}
    for name, make in {**makers, "cost": draw_cost}.items():
        draw(data / f"{name}.csv", pictures / f"{name}.svg", make)


def draw(source, picture, make):
    """Write the picture that `make` makes of the data."""
    data = source.read_bytes()
    figure = make(list(csv.DictReader(data.decode().splitlines())))
    svg = io.StringIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    small = scour.scourString(svg.getvalue(), SCOUR)
    named = f"<desc>{source.name}, CRC-32 {zlib.crc32(data):08x}</desc>"
    picture.write_text(small.replace("<defs>", f"{named}<style>{DARK}</style><defs>", 1))


def draw_scenario(title, rows):
    """Draw a row for each limiter: what it admits of what is offered, and what each window of 60 s holds of it."""
    limiters = list(dict.fromkeys(row["limiter"] for row in rows))
    figure, axes = pyplot.subplots(len(limiters), 2, figsize=(9, 2 * len(limiters)), sharex=True, sharey="col")
    for limiter, (left, right) in zip(limiters, axes, strict=True):
        seconds = [row for row in rows if row["limiter"] == limiter]
        draw_requests(left, seconds)
        draw_windows(right, seconds)
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
            Patch(color=LIGHT["offered"], label="offered"),
            Patch(color=LIGHT["good"], label="admitted"),
            Line2D([], [], color=LIGHT["text"], linestyle="--", linewidth=1, label=f"the limit: {LIMIT} in 60 s"),
            Patch(color=LIGHT["bad"], label="above the limit"),
        ],
        loc="upper center",
        ncols=4,
        bbox_to_anchor=(0.5, 0.972),
    )
    figure.suptitle(title, y=0.992, size=10)
    figure.subplots_adjust(left=0.07, right=0.98, top=0.915, bottom=0.05, hspace=0.36, wspace=0.15)
    return figure


def draw_requests(axis, seconds):
    """Draw what is admitted before what is offered."""
    starts = range(0, len(seconds), BAR)
    for column, color in (("offered", LIGHT["offered"]), ("admitted", LIGHT["good"])):
        bars = [sum(int(row[column]) for row in seconds[start : start + BAR]) for start in starts]
        fill(axis, bars, BAR, color)


def draw_windows(axis, seconds):
    """Draw what the window that ends at each second holds, and what of it is above the limit."""
    held = [int(row["admitted_in_60_s"]) for row in seconds]
    most = max(held)
    broken = most > LIMIT
    fill(axis, held, 1, LIGHT["bad"])
    fill(axis, [min(count, LIMIT) for count in held], 1, LIGHT["good"])
    axis.axhline(LIMIT, color=LIGHT["text"], linestyle="--", linewidth=1)
    axis.text(
        0.99,
        0.97,
        f"at most {most}",
        transform=axis.transAxes,
        ha="right",
        va="top",
        weight="bold",
        color=LIGHT["bad"] if broken else LIGHT["good"],
    )


def fill(axis, heights, width, color):
    """Draw bars of one width, side by side; neighbours of one height become one."""
    edges, tops = [0], []
    for height, same in itertools.groupby(heights):
        edges.append(edges[-1] + width * len(list(same)))
        tops.append(height)
    axis.stairs(tops, edges, fill=True, color=color, linewidth=0)


def draw_cost(rows):
    """Draw what the bounded log costs against an exact one, over the limit."""
    figure, (volume, back, state) = pyplot.subplots(1, 3, figsize=(9, 3.3))
    limits = sorted({int(row["limit"]) for row in rows})
    traffics = list(dict.fromkeys(row["traffic"] for row in rows))
    for traffic, color in zip(traffics, LINES, strict=True):
        of_it = [row for row in rows if row["traffic"] == traffic]
        shares = [100 * int(row["admitted"]) / int(row["admitted_by_exact_log"]) for row in of_it]
        volume.plot(limits, shares, marker="o", markersize=3, linewidth=1.2, color=color, label=traffic)
        shares = [100 * int(row["held_back"]) / int(row["requests"]) for row in of_it]
        back.plot(limits, shares, marker="o", markersize=3, linewidth=1.2, color=color)
    longest = [max(int(row["longest_state_bytes"]) for row in rows if int(row["limit"]) == limit) for limit in limits]
    state.plot(limits, [8 * limit for limit in limits], color=LIGHT["bad"], linewidth=1.2, linestyle="--")
    state.plot(limits, longest, marker="o", markersize=3, linewidth=1.2, color=LIGHT["good"])
    state.text(1_500, 30_000, "exact log", color=LIGHT["bad"], ha="right")
    state.text(10_000, 75, "RL.CHECK", color=LIGHT["good"], ha="right")
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
    if len(sys.argv) != 3:
        sys.exit("usage: draw.py DATA PICTURES")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
