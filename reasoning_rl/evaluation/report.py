"""The report: one HTML page that tells a run, with its figures beside it.

It shows what was measured and says in words what was not shown. The page needs
no network and no file but itself; the PNGs beside it are for papers and slides.
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from reasoning_rl.evaluation import (
  report_page,
  report_plots,
  report_tree,
  results_schema,
  tree_view,
)
from reasoning_rl.evaluation import report_text as text
from reasoning_rl.evaluation import results as results_lib

Record = Mapping[str, Any]

_CLAIMS = {
  "clearly above": ("holds", "holds clearly"),
  "above": ("holds", "holds"),
  "not shown": ("open", "not shown"),
  "reversed": ("reversed", "reversed"),
}


def write_report(
  directory: str | os.PathLike[str],
  results: Record,
  trees: Sequence[tree_view.TreeView] = (),
  learning_curves: Sequence[report_plots.LearningCurve] = (),
) -> pathlib.Path:
  """Writes index.html and the figures' PNGs.

  Args:
    directory: Where to; it is made.
    results: As in results.json, or with the dataclasses still in place.
    trees: Search trees to show, the first one unfolded. `results["trees"]`
      are shown where none are given.
    learning_curves: Of the training stages.

  Returns:
    The path of index.html.
  """
  directory = pathlib.Path(directory)
  plain = results_lib.to_plain(results)
  results_schema.validate(plain, "The report's results")
  if not trees:
    trees = [tree_view.from_record(record) for record in plain["trees"]]
  directory.mkdir(parents=True, exist_ok=True)
  sections = [
    _loop(directory, plain["stages"]),
    _search(directory, plain["curves"]),
    _committed(directory, plain.get("committed", [])),
    _thinking(directory, plain.get("thinking", [])),
    _claims(plain["comparisons"]),
    _reward_model(directory, plain["prm_quality"]),
    _trees(trees),
    _costs(plain["curves"]),
    _learning(directory, learning_curves),
  ]
  shown = [(name, part) for name, part in sections if part]
  links = "".join(
    f'<a href="#{name.split()[0].lower()}">{name}</a>' for name, _ in shown
  )
  body = "".join(
    [_header(plain), f"<nav>{links}</nav>", _headlines(plain)]
    + [part for _, part in shown]
    + [_method(plain)]
  )
  page = report_page.document(f"Reasoning report: {plain['task']}", body)
  return _write(directory / "index.html", page)


def _header(results: Record) -> str:
  """Returns the title and what the run was."""
  hardware = results["hardware"]
  facts = [
    text.counted(results["heldout_problems"], "held-out problem"),
    f"{'seed' if len(results['seeds']) == 1 else 'seeds'} "
    + ", ".join(map(str, results["seeds"])),
    f"commit {results['commit'][:12]}",
    f"config {results['config_hash'][:12]}",
    f"{hardware['processor']}, {text.counted(hardware['cores'], 'core')}, "
    f"{text.size(hardware['memory_bytes'])}",
    hardware["device"],
    hardware["software"],
  ]
  if results.get("seconds") is not None:
    facts.append(f"evaluated in {text.seconds(results['seconds'])}")
  spans = "".join(f"<span>{report_page.escape(f)}</span> " for f in facts)
  notes = "".join(
    f'<p class="note">{report_page.escape(note)}</p>'
    for note in results.get("notes", [])
  )
  title = report_page.escape(results["task"])
  return f'<h1>Reasoning on {title}</h1><p class="meta">{spans}</p>{notes}'


def _headlines(results: Record) -> str:
  """Returns the few numbers a reader wants first."""
  cards = [
    _gain_card([s for s in results["stages"] if s["role"] == "loop"]),
    _search_card(results["curves"]),
    *map(_quality_card, results["prm_quality"][:1]),
  ]
  if results["comparisons"]:
    held = sum("above" in c["verdict"] for c in results["comparisons"])
    cards.append(
      report_page.card(
        "Orderings that hold",
        f"{held} of {len(results['comparisons'])}",
        "95 % interval of the paired difference above 0",
      )
    )
  shown = "".join(cards)
  return f'<div class="cards">{shown}</div>' if shown else ""


def _gain_card(loop: Sequence[Record]) -> str:
  """Returns what the loop gained, from its first stage to its last."""
  if len(loop) < 2:
    return ""
  first, last = (loop[i]["greedy_pass_at_1"] for i in (0, -1))
  return report_page.card(
    "Greedy pass@1, start to end",
    f"{text.percent(first['mean']).removesuffix(' %')} → "
    f"{text.percent(last['mean'])}",
    f"{loop[0]['name']} to {loop[-1]['name']}; {text.bounds(last)}",
  )


def _search_card(curves: Sequence[Record]) -> str:
  """Returns the highest point of all curves but pass@k: it chooses nothing."""
  found = [
    (c["method"], point)
    for c in curves
    for point in c["points"]
    if c["method"] != "pass@k"
  ]
  if not found:
    return ""
  method, point = max(found, key=lambda pair: pair[1]["accuracy"]["mean"] or 0)
  return report_page.card(
    "Highest with test-time search",
    text.percent(point["accuracy"]["mean"]),
    f"{method}, budget {point['budget']}, highest of {len(found)} points;"
    f" {text.bounds(point['accuracy'])}",
  )


def _quality_card(quality: Record) -> str:
  """Returns the reward model in one number and two."""
  error = text.number(quality["calibration_error"]["mean"])
  return report_page.card(
    f"{quality['name']}: AUROC on thoughts",
    text.number(quality["auroc"]["mean"]),
    f"first-error F1 {text.percent(quality['first_error_f1']['mean'])}, "
    f"calibration error {error}",
  )


def _loop(directory: pathlib.Path, stages: Sequence[Record]) -> tuple[str, str]:
  if not stages:
    return "Loop", ""
  path = report_plots.loop_progress(directory / "loop.png", stages)
  rows = [
    [
      stage["name"],
      stage["role"],
      text.interval(stage["greedy_pass_at_1"]),
      text.interval(stage.get("sampled_pass_at_1")),
      text.count(stage.get("updates")),
      text.count(stage.get("train_tokens")),
      text.seconds(stage.get("seconds")),
    ]
    for stage in stages
  ]
  head = ["stage", "role", "greedy pass@1", "sampled pass@1", "updates",
          "trained tokens", "time"]  # fmt: skip
  return "Loop", report_page.section(
    "loop",
    "The loop, stage by stage",
    "One attempt per held-out problem after each stage, without search. Bars "
    "and brackets are 95 % intervals over problems.",
    report_page.image(path, "pass@1 after each stage")
    + report_page.table(head, rows, texts=2),
  )


def _search(
  directory: pathlib.Path, curves: Sequence[Record]
) -> tuple[str, str]:
  if not curves:
    return "Search", ""
  axes = (
    ("policy_tokens", "policy tokens per problem", "accuracy_by_tokens.png",
     "Against tokens decoded by the policy, discarded branches included"),
    ("flops", "FLOPs per problem, reward model included",
     "accuracy_by_flops.png",
     "Against all computation, the reward model's included"),
  )  # fmt: skip
  figures = "".join(
    report_page.image(
      report_plots.accuracy_by_budget(directory / name, curves, key, label),
      caption,
    )
    for key, label, name, caption in axes
  )
  return "Search", report_page.section(
    "search",
    "Accuracy against test-time budget",
    "The same policy, given more computation per problem. Bands are 95 % "
    "intervals over problems; compare methods at the same place on an axis, "
    "and trust a comparison below more than the overlap of two bands.",
    f'<div class="figures">{figures}</div>',
  )


def _committed(
  directory: pathlib.Path, curves: Sequence[Record]
) -> tuple[str, str]:
  if not curves:
    return "Wrong values", ""
  path = report_plots.accuracy_by_budget(
    directory / "value_errors.png", curves, title="accuracy by visits (%)"
  )
  return "Wrong values", report_page.section(
    "wrong",
    "What a wrong value does",
    "Here a search answers with the path it has visited most, and its values "
    "are mixed with their opposites: an error of 0 leaves them, of 1 turns "
    "them around.",
    report_page.image(path, "Accuracy of the most visited path"),
  )


def _thinking(
  directory: pathlib.Path, curves: Sequence[Record]
) -> tuple[str, str]:
  if not curves:
    return "Thinking", ""
  path = report_plots.accuracy_by_budget(
    directory / "thinking.png",
    curves,
    "thinking_tokens",
    "thinking tokens per problem",
  )
  return "Thinking", report_page.section(
    "thinking",
    "Accuracy against thinking tokens",
    "The same policy, whose thinking is ended after so many tokens at most. "
    "The axis has the mean of what it has thought.",
    report_page.image(path, "Accuracy by thinking tokens"),
  )


def _claims(comparisons: Sequence[Record]) -> tuple[str, str]:
  if not comparisons:
    return "Comparisons", ""
  items = []
  for claim in comparisons:
    kind, word = _CLAIMS[claim["verdict"]]
    items.append(
      f'<li><span class="badge {kind}">{word}</span>'
      f"<span>{report_page.escape(claim['sentence'])}</span></li>"
    )
  return "Comparisons", report_page.section(
    "comparisons",
    "Which orderings hold",
    "Holds: the 95 % interval of the paired difference lies above 0; clearly: "
    "the difference is also at least 5 points. Not shown is no evidence of "
    "equality.",
    f'<ul class="claims">{"".join(items)}</ul>',
  )


def _reward_model(
  directory: pathlib.Path, qualities: Sequence[Record]
) -> tuple[str, str]:
  if not qualities:
    return "Reward model", ""
  path = report_plots.reward_model(directory / "reward_model.png", qualities)
  rows = [
    [
      quality["name"],
      text.interval(quality["auroc"], text.number),
      text.interval(quality["first_error_f1"]),
      text.percent(quality["erroneous_accuracy"]),
      text.percent(quality["correct_accuracy"]),
      text.number(quality["first_error_threshold"]),
      text.interval(quality["calibration_error"], text.number),
      f"{quality['thoughts']:,}",
    ]
    for quality in qualities
  ]
  head = ["model", "AUROC", "first-error F1", "error found", "no error seen",
          "threshold", "calibration error", "thoughts"]  # fmt: skip
  return "Reward model", report_page.section(
    "reward",
    "The reward model against the truth",
    "The truth comes from an oracle or a human and never enters training. "
    "First-error F1 joins finding the first wrong thought of a wrong solution "
    "and passing right solutions; its threshold was chosen on validation.",
    report_page.image(path, "Reliability and ROC, per thought")
    + report_page.table(head, rows),
  )


def _costs(curves: Sequence[Record]) -> tuple[str, str]:
  rows = []
  for curve in curves:
    for i, point in enumerate(curve["points"]):
      rows.append(
        [
          curve["method"] if i == 0 else "",
          str(point["budget"]),
          text.interval(point["accuracy"]),
          text.count(point["policy_tokens"]),
          text.count(point["prm_tokens"]),
          text.count(point["flops"]),
          text.size(point["peak_cache_bytes"]),
          text.seconds(point["seconds"]),
        ]
      )
  if not rows:
    return "Cost", ""
  head = ["method", "budget", "accuracy", "policy tokens", "PRM tokens",
          "FLOPs", "peak cache", "time"]  # fmt: skip
  return "Cost", report_page.section(
    "cost",
    "What it costs",
    "Means per problem. Budget is in samples' worth of policy tokens.",
    report_page.table(head, rows),
  )


def _trees(trees: Sequence[tree_view.TreeView]) -> tuple[str, str]:
  parts = [
    report_tree.render_html(tree, f"tree-{i}", unfolded=i == 0)
    for i, tree in enumerate(trees)
  ]
  if not parts:
    return "Trees", ""
  return "Trees", report_page.section(
    "trees",
    "Search trees",
    "Real searches on held-out problems: each node is one thought, scored by "
    "the reward model. Unfold a tree to follow what was tried and what won.",
    "".join(parts),
  )


def _learning(
  directory: pathlib.Path, curves: Sequence[report_plots.LearningCurve]
) -> tuple[str, str]:
  if not curves:
    return "Training", ""
  path = report_plots.learning_curves(directory / "learning.png", curves)
  return "Training", report_page.section(
    "training",
    "Training",
    "What each learner saw while it trained.",
    report_page.image(path, "Learning curves"),
  )


def _method(results: Record) -> str:
  """Returns the closing words: how to read, and how to run it again."""
  command = results.get("command")
  again = (
    f"<p>Command: <code>{report_page.escape(command)}</code></p>"
    if command
    else ""
  )
  return (
    '<p class="note">Intervals are percentile bootstraps over problems; '
    "samples and seeds of one problem are averaged first. Everything was "
    "chosen on validation problems, and held-out problems were read by this "
    f"evaluation only.</p>{again}"
  )


def _write(path: pathlib.Path, page: str) -> pathlib.Path:
  """Writes a page so that a reader sees the old one or the new one, whole."""
  with tempfile.NamedTemporaryFile(
    "w", dir=path.parent, suffix=".tmp", encoding="utf-8", delete=False
  ) as file:
    file.write(page)
  os.chmod(file.name, 0o644)
  os.replace(file.name, path)
  return path
