"""The report's figures: accuracy by budget, the loop, the PRM, learning curves.

Each function writes one PNG and returns its path. Colours are Okabe and Ito's,
and every series also has a marker of its own, so no figure needs colour.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

_COLORS = (
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#b8860b",
  "#56b4e9",
  "#000000",
  "#7f7f7f",
)
_MARKERS = "os^DvPX*"
_INK = "#1b1f24"
_MUTED = "#5b6470"
_GRID = "#e3e6ea"
_DOTS_PER_INCH = 160


@dataclasses.dataclass(frozen=True)
class LearningCurve:
  """One line of a learning-curve figure.

  Attributes:
    panel: What is plotted; curves of one panel share its axes.
    label: Which line it is, such as a stage.
    x: Steps, tokens or seconds.
    y: Measured values; not finite ones are left out.
    x_label: What `x` counts.
  """

  panel: str
  label: str
  x: tuple[float, ...]
  y: tuple[float, ...]
  x_label: str = "step"


def accuracy_by_budget(
  path: str | os.PathLike[str],
  curves: Sequence[Record],
  x_key: str = "policy_tokens",
  x_label: str = "policy tokens per problem",
  title: str = "held-out accuracy (%)",
) -> pathlib.Path:
  """Draws accuracy against cost, one line with its interval per method.

  Args:
    path: Of the PNG.
    curves: As in results.json.
    x_key: Which cost: "policy_tokens", "flops" or any other of a point.
    x_label: Its name on the axis.
    title: What is measured, on the other axis.
  """
  figure = _figure(5.6, 4.9)
  axes = _axes(figure.add_subplot())
  for i, curve in enumerate(curves):
    points = [
      (p[x_key], p["accuracy"])
      for p in curve["points"]
      if p[x_key] and p["accuracy"]["mean"] is not None
    ]
    points.sort(key=lambda point: point[0])
    if not points:
      continue
    x = [cost for cost, _ in points]
    mean, low, high = (
      [100 * _or_nan(interval[key]) for _, interval in points]
      for key in ("mean", "low", "high")
    )
    style = _style(i)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.08, lw=0)
    axes.plot(x, mean, label=_plain(curve["method"]), **style)
  _cost_axis(axes)
  axes.set_xlabel(x_label)
  axes.set_ylabel(title)
  _legend_below(figure, axes)
  return _save(figure, path)


def loop_progress(
  path: str | os.PathLike[str], stages: Sequence[Record]
) -> pathlib.Path:
  """Draws pass@1 of every stage with its interval, top to bottom.

  Stages of the loop are joined by a line; baselines stand alone, hollow.
  """
  figure = _figure(9.2, 1.5 + 0.48 * len(stages))
  axes = _axes(figure.add_subplot())
  kinds = (("greedy_pass_at_1", "greedy", -0.1),
           ("sampled_pass_at_1", "sampled", 0.1))  # fmt: skip
  for i, (key, label, shift) in enumerate(kinds):
    rows = [
      (row + shift, stage[key], stage["role"] == "loop")
      for row, stage in enumerate(stages)
      if stage.get(key) and stage[key]["mean"] is not None
    ]
    style = _style(i)
    loop = [(100 * interval["mean"], y) for y, interval, mine in rows if mine]
    if loop:
      axes.plot(
        *zip(*loop, strict=True), color=style["color"], lw=1.2, alpha=0.5
      )
    for y, interval, mine in rows:
      mean = 100 * interval["mean"]
      low, high = (100 * _or_nan(interval[end]) for end in ("low", "high"))
      axes.plot([low, high], [y, y], color=style["color"], lw=2.2, alpha=0.55)
      axes.plot(
        [mean],
        [y],
        color=style["color"],
        marker=style["marker"],
        markersize=7,
        markerfacecolor=style["color"] if mine else "white",
        markeredgewidth=1.6,
        label=label if y == rows[0][0] else "_",
        lw=0,
      )
  axes.set_yticks(range(len(stages)), [_plain(s["name"]) for s in stages])
  axes.set_ylim(len(stages) - 0.5, -0.5)
  axes.set_xlabel("held-out pass@1 (%); filled: the loop, hollow: baselines")
  _legend_below(figure, axes)
  return _save(figure, path)


def reward_model(
  path: str | os.PathLike[str], qualities: Sequence[Record]
) -> pathlib.Path:
  """Draws the reliability diagram and the ROC curve of each reward model."""
  figure = _figure(9.2, 4.9)
  left, right = (_axes(axes) for axes in figure.subplots(1, 2))
  for axes in (left, right):
    axes.plot([0, 1], [0, 1], color=_MUTED, lw=1, ls=(0, (4, 4)))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
  for i, quality in enumerate(qualities):
    style, name = _style(i), _plain(quality["name"])
    bins = quality["reliability"]
    left.plot(
      [part["confidence"] for part in bins],
      [part["frequency"] for part in bins],
      label=name,
      **style,
    )
    if quality["roc"]:
      false, true = zip(*quality["roc"], strict=True)
      right.plot(false, true, color=style["color"], lw=1.8)
  left.set_xlabel("PRM score (mean of a bin)")
  left.set_ylabel("share of right thoughts")
  left.set_title("Reliability: the diagonal is perfect", fontsize=10)
  right.set_xlabel("share of wrong thoughts accepted")
  right.set_ylabel("share of right thoughts accepted")
  right.set_title("ROC: telling right thoughts from wrong", fontsize=10)
  _legend_below(figure, left)
  return _save(figure, path)


def learning_curves(
  path: str | os.PathLike[str], curves: Sequence[LearningCurve]
) -> pathlib.Path:
  """Draws one panel per measured quantity, two in a row."""
  panels = list(dict.fromkeys(curve.panel for curve in curves))
  labels = list(dict.fromkeys(curve.label for curve in curves))
  rows = max(1, math.ceil(len(panels) / 2))
  figure = _figure(9.2, 2.7 * rows + 0.4)
  grid = figure.subplots(rows, 2, squeeze=False).ravel()
  for axes, panel in zip(grid, panels, strict=False):
    _axes(axes)
    mine = [curve for curve in curves if curve.panel == panel]
    for curve in mine:
      points = [
        point
        for point in zip(curve.x, curve.y, strict=True)
        if all(map(math.isfinite, point))
      ]
      style = _style(labels.index(curve.label))
      # A marker on every tenth of the line tells it apart without colour.
      style["markevery"] = max(1, len(points) // 8)
      x, y = zip(*points, strict=True) if points else ((), ())
      axes.plot(x, y, label=_plain(curve.label), **style)
    axes.set_title(_plain(panel), fontsize=10)
    axes.set_xlabel(_plain(mine[0].x_label))
    axes.legend(frameon=False, fontsize=8)
  for axes in grid[len(panels) :]:
    axes.set_axis_off()
  return _save(figure, path)


def _figure(width: float, height: float):
  """Returns an empty figure; matplotlib is imported from here on only."""
  import matplotlib.figure as figure_lib

  # A Figure of its own draws with Agg; pyplot's global state is not touched.
  return figure_lib.Figure(figsize=(width, height), layout="constrained")


def _axes(axes):
  """Returns `axes` in the report's plain style."""
  axes.spines[["top", "right"]].set_visible(False)
  axes.spines[["left", "bottom"]].set_color(_MUTED)
  axes.tick_params(colors=_INK, labelsize=9)
  axes.grid(True, color=_GRID, lw=0.8)
  axes.set_axisbelow(True)
  axes.xaxis.label.set_fontsize(9.5)
  axes.yaxis.label.set_fontsize(9.5)
  return axes


def _style(index: int) -> dict[str, Any]:
  """Returns the colour and marker of the series with this index."""
  return {
    "color": _COLORS[index % len(_COLORS)],
    "marker": _MARKERS[index % len(_MARKERS)],
    "ls": ("-", "--", ":")[index // len(_COLORS) % 3],
    "lw": 1.8,
    "markersize": 5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.6,
  }


def _cost_axis(axes) -> None:
  """Makes the x axis logarithmic, with ticks like 50, 200, 1 k, 3 M."""
  import matplotlib.ticker as ticker_lib

  axes.set_xscale("log")
  low, high = axes.get_xlim()
  subs = (1, 2, 5) if high / low < 500 else (1, 3) if high / low < 2e4 else (1,)
  axes.xaxis.set_major_locator(ticker_lib.LogLocator(subs=subs, numticks=20))
  axes.xaxis.set_major_formatter(ticker_lib.EngFormatter())
  axes.xaxis.set_minor_formatter(ticker_lib.NullFormatter())


def _legend_below(figure, axes) -> None:
  """Puts the legend under the axes, where it hides no point."""
  handles, labels = axes.get_legend_handles_labels()
  if handles:
    figure.legend(
      handles,
      labels,
      loc="outside lower center",
      ncols=2 if len(handles) > 1 else 1,
      frameon=False,
      fontsize=9,
    )


def _plain(text: str) -> str:
  """Returns text that matplotlib sets as it stands."""
  # A pair of dollars would start mathematics, a leading underscore hides.
  return text.replace("\\", "/").replace("$", r"\$").lstrip("_") or " "


def _or_nan(value: float | None) -> float:
  return math.nan if value is None else value


def _save(figure, path: str | os.PathLike[str]) -> pathlib.Path:
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(
    path,
    dpi=_DOTS_PER_INCH,
    bbox_inches="tight",
    pad_inches=0.05,
    metadata={"Software": None},  # The same curves give the same file.
  )
  return path
