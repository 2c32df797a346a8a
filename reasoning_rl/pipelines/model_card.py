"""What an exported policy's model card says, from what its workdir holds."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from typing import Any

from reasoning_rl.evaluation import results as results_lib
from reasoning_rl.models.pretrained import export
from reasoning_rl.pipelines import claims, imitate, pinned_models, train_sft
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError

_TERMS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "USE_POLICY.md")
_MOST_CHARS = 1 << 20  # Of a README.md or a source.json.
_HUB_NAMES = {"Apache-2.0": "apache-2.0", "Gemma Terms of Use": "gemma"}
_LIMITS = (
  "It was trained on problems of one kind, whose final answers are checked, and"
  " measured on no others. What it says of anything else was never looked at."
)


@dataclasses.dataclass(frozen=True)
class Base:
  """The model that a run started from.

  Attributes:
    name: What it is called; "" where the run started from nothing.
    origin: Its name on the hub, or the folder's.
    licence: Its licence's short name; "" where its folder does not say.
    terms: The files with the licence, and with what it asks to be said.
  """

  name: str = ""
  origin: str = ""
  licence: str = ""
  terms: tuple[pathlib.Path, ...] = ()


def base_of(path: str) -> Base:
  """Returns what a model's folder says of itself; "" stands for no model."""
  if not path:
    return Base()
  folder = pathlib.Path(path).expanduser()
  name = folder.resolve().name
  origin, licence = name, ""
  known = {model.title: model for model in pinned_models.MODELS.values()}
  model = known.get(_fetched(folder))
  if model is not None:
    name, origin = model.title, model.origin.split(",")[0]
    licence = model.licence
  else:
    # The header of a model card, as the hub and `export` write them.
    header = re.match(r"---\n(.*?)\n---\n", _text(folder / "README.md"), re.S)
    said = header and re.search(r"^license: *(\S.*)$", header[1], re.M)
    licence = said[1].strip().strip("\"'") if said else ""
  terms = tuple(p for p in map(folder.joinpath, _TERMS) if p.is_file())
  return Base(name, origin, _HUB_NAMES.get(licence, licence), terms)


def licence(base: Base, given: str) -> str:
  """Returns the licence of an export; `given` is what the user says of it."""
  if not base.licence and not given:
    what = "the run started from no pretrained model"
    if base.name:
      what = f"the folder of {base.name} does not name its licence"
    raise ConfigError(
      f"{what}: say under which the model is to be, as in --licence=apache-2.0."
    )
  if base.licence and given and base.licence != given:
    raise ConfigError(
      f"--licence is {given!r}, and {base.name} is under {base.licence!r},"
      " which binds what is made from it: leave the flag out."
    )
  return base.licence or given


def make(
  stage: stage_lib.Stage, policy: str, base: Base, licence: str
) -> export.ModelCard:
  """Returns the model card of a finished policy.

  Args:
    stage: The run.
    policy: The policy's name.
    base: What the run started from.
    licence: Of what is exported.
  """
  task = stage.experiment.task
  name = f"{base.name or 'policy'}-{task.name.replace('_', '-')}"
  summary = f"A language model that solves problems of the task {task.version}."
  terms = ""
  if base.name:
    summary = (
      f"{base.name}, trained further to solve problems of the task"
      f" {task.version}. Its weights are not those of the base model."
    )
    files = ", ".join(path.name for path in base.terms)
    terms = f"The base model's licence binds: see {files}." if files else ""
  return export.ModelCard(
    name=name,
    summary=summary,
    base_model=base.origin,
    licence=licence,
    licence_terms=terms,
    training=_training(stage, policy, base),
    results=_results(stage, policy),
    limits=_LIMITS,
  )


def _training(stage: stage_lib.Stage, policy: str, base: Base) -> str:
  """Returns how a policy came about."""
  config = stage.config
  start = f"the weights of {base.name}" if base.name else "random weights"
  if config.inputs.policy:
    start = f"a checkpoint of another run, {config.inputs.policy}"
  facts = [f"Start: {start}", f"Task: {stage.experiment.task.version}"]
  if config.network.lora_rank:
    facts.append(
      f"Adapters of rank {config.network.lora_rank} were trained, and are"
      " merged into these weights"
    )
  stages = stage.workdir.stages()
  for name in _stages_of(policy):
    if name in stages:
      facts.append(f"{name}: {_did(name, stages[name])}")
  number = re.fullmatch(r"policy_(\d+)", policy)
  if number:
    facts.append(f"Iterations of search and learning: {int(number[1]) + 1}")
  facts.append(f"Config hash: {config_lib.config_hash(config)}")
  head = "Trained with reasoning_rl, on problems that programs make."
  return "\n".join([head, "", *(f"- {fact}" for fact in facts)])


def _stages_of(policy: str) -> list[str]:
  """Returns the stages that a policy went through, as far as there are any."""
  number = re.fullmatch(r"policy_(\d+)(?:_imitation)?", policy)
  names = [policy]
  if number:
    names = [f"policy_{i}" for i in range(int(number[1]) + 1)]
  chain = [train_sft.NAME]
  for name in names:
    chain += [imitate.name_of(name), name]
  return chain[: chain.index(policy) + 1]


def _did(name: str, summary: dict[str, Any]) -> str:
  """Returns what a learner did."""
  said = f"{summary.get('steps', 0)} updates"
  if name == train_sft.NAME:
    return f"{said}, supervised, on {summary.get('demonstrations', 0)} examples"
  if "solutions" in summary:
    return f"{said}, supervised, on {summary['solutions']} right solutions"
  return f"{said} of reinforcement learning from verified final answers"


def _results(stage: stage_lib.Stage, policy: str) -> str:
  """Returns what the run's report measured of a policy, "" if nothing."""
  path = stage.workdir.report / "results.json"
  if not path.exists():
    return ""
  found = results_lib.read_results(path)
  label = _label(policy)
  wanted = {"warm-up": "start", label: "this model"}
  rows = [
    f"| {wanted[row['name']]} | {_percent(row['greedy_pass_at_1'])}"
    f" | {_percent(row.get('sampled_pass_at_1'))} |"
    for row in found["stages"]
    if row["name"] in wanted
  ]
  if label not in [row["name"] for row in found["stages"]]:
    return ""
  return "\n".join(
    [
      f"Right final answers on {found['heldout_problems']} held-out problems of"
      f" {found['task']}, with 95 % intervals over the problems:",
      "",
      "| | greedy | sampled |",
      "|---|---|---|",
      *rows,
      "",
      "Reward models, and searches that use them, are not part of these files.",
    ]
  )


def _label(policy: str) -> str:
  """Returns what the report calls a policy, "" if nothing."""
  baseline = claims.BASELINE_LABELS.get(policy.removeprefix("baseline_"))
  if policy.startswith("baseline_") and baseline:
    return baseline
  if policy == train_sft.NAME or re.fullmatch(r"policy_\d+", policy):
    return claims.label_of(policy)
  return ""


def _percent(interval: dict[str, Any] | None) -> str:
  if not interval or interval["mean"] is None:
    return "not measured"
  low, mean, high = (interval[key] for key in ("low", "mean", "high"))
  between = "" if None in (low, high) else f" ({low:.1%} to {high:.1%})"
  return f"{mean:.1%}{between}"


def _fetched(folder: pathlib.Path) -> str:
  """Returns the title that scripts/fetch_model.py left, "" without one."""
  try:
    title = json.loads(_text(folder / "source.json"))["model"]
  except (ValueError, KeyError, TypeError, RecursionError):
    return ""
  return title if isinstance(title, str) else ""


def _text(path: str | os.PathLike[str]) -> str:
  """Returns the beginning of a text, "" where there is none."""
  try:
    with open(path, encoding="utf-8", errors="replace") as file:
      return file.read(_MOST_CHARS)
  except OSError:
    return ""
