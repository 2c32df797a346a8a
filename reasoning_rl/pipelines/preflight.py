"""Whether reinforcement learning can learn from a policy's own samples.

A method that compares the samples of a problem with each other learns nothing
from a group that is all right or all wrong: its advantages are 0. A sample that
is cut off, or whose answer cannot be read, counts as wrong whatever it thought.
So what matters is the share of mixed groups, and how many samples are lost.
Only validation problems are read.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import ml_collections
import numpy as np
import rich.table

from reasoning_rl.evaluation import accuracy, bootstrap, results
from reasoning_rl.pipelines import config as config_lib
from reasoning_rl.pipelines import prompt_choice, train_sft
from reasoning_rl.pipelines import sampled as sampled_lib
from reasoning_rl.pipelines import stage as stage_lib

FILE = "preflight.json"


def run(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
  """Prints and writes what a policy does on validation problems."""
  with stage_lib.open_stage(config, path) as stage:
    check(stage, *_policy(stage))


def check(stage: stage_lib.Stage, name: str, policy: Any) -> dict[str, Any]:
  """Measures a policy, prints it and writes `preflight.json`.

  Args:
    stage: The run; its section `preflight` has the sizes and the thresholds.
    name: What the policy is called.
    policy: Its parameters.

  Returns:
    What is in the file.
  """
  experiment, config = stage.experiment, stage.config.preflight
  problems = experiment.different_problems(
    "validation", 0, config.problems, "preflight.problems"
  )
  compared = prompt_choice.compare(stage, policy) if config.prompts else []
  greedy = sampled_lib.greedy(experiment, policy, problems)
  sampled = sampled_lib.measure(experiment, policy, problems, config.rollouts)
  can_learn, sentence = verdict(sampled, config)
  interval = lambda x: dataclasses.asdict(
    bootstrap.mean_interval(np.asarray(x, np.float64))
  )
  counts = sampled.correct.sum(axis=1)
  found = {
    "task": experiment.task.version,
    "policy": name,
    "config_hash": config_lib.config_hash(stage.config),
    "hardware": results.hardware(),
    "prompts": compared,
    "problems": len(problems),
    "rollouts": config.rollouts,
    "temperature": experiment.sampling.temperature,
    "prompt_tokens": float(np.mean(problems.prompt_length)),
    "completion_tokens": sampled.tokens,
    "greedy_pass_at_1": interval(greedy.correct[:, 0]),
    "greedy_truncated": float(greedy.truncated_mask.mean()),
    "greedy_unparsed": float(greedy.unparsed_mask.mean()),
    "pass_at_k": {
      str(k): interval(accuracy.pass_at_k(counts, config.rollouts, k))
      for k in accuracy.budgets_up_to(config.rollouts)
    },
    "mixed": interval(sampled.mixed_mask),
    "truncated": float(sampled.truncated_mask.mean()),
    "unparsed": float(sampled.unparsed_mask.mean()),
    "undecided": float(sampled.undecided_mask.mean()),
    "can_learn": can_learn,
    "verdict": sentence,
  }
  text = json.dumps(found, indent=2) + "\n"
  (stage.workdir.path / FILE).write_text(text, encoding="utf-8")
  stage.progress.console.print(_table(found))
  stage.progress.say(sentence)
  return found


def verdict(
  sampled: sampled_lib.Sampled, config: ml_collections.ConfigDict
) -> tuple[bool, str]:
  """Returns whether there is something to learn from, and why in a sentence.

  Args:
    sampled: The samples.
    config: The section `preflight`.
  """
  mixed = float(sampled.mixed_mask.mean())
  right = float(sampled.correct.mean())
  truncated = float(sampled.truncated_mask.mean())
  unparsed = float(sampled.unparsed_mask.mean())
  groups = f"{mixed:.0%} of the groups are mixed"
  if truncated > config.max_truncated:
    return False, (
      f"Reinforcement learning would learn to be brief: {truncated:.0%} of the"
      f" samples find no end (at most {config.max_truncated:.0%}), so raise"
      " data.max_completion_tokens or show in the prompt how an answer ends."
    )
  if unparsed > config.max_unparsed:
    return False, (
      f"Reinforcement learning would learn the format: {unparsed:.0%} of the"
      " samples end without an answer that can be read (at most"
      f" {config.max_unparsed:.0%}), so show it in the prompt or warm up."
    )
  if mixed >= config.min_mixed:
    return True, (
      f"Reinforcement learning can learn from this: {groups} (at least"
      f" {config.min_mixed:.0%}), and {right:.0%} of the samples are right."
    )
  too = "easy" if right > 0.5 else "hard"
  advice = {
    "easy": "take a harder task",
    "hard": "take an easier task, give worked examples or warm up",
  }[too]
  return False, (
    f"Reinforcement learning can hardly learn from this: only {groups} (at"
    f" least {config.min_mixed:.0%}) and {right:.0%} of the samples are right,"
    f" which is too {too}, so {advice}."
  )


def _policy(stage) -> tuple[str, Any]:
  """Returns the policy that a run would go on with, and its name."""
  given = stage.config.inputs.policy
  started = stage.workdir.finished(train_sft.NAME)
  if not given and not started and not stage.config.sft.max_steps:
    return "the start", stage.first_policy()
  return given or train_sft.NAME, stage.input_policy(train_sft.NAME)


def _table(found) -> rich.table.Table:
  """Returns the numbers as a table."""
  table = rich.table.Table(
    title=f"{found['task']}, policy {found['policy']}: {found['problems']}"
    f" validation problems, {found['rollouts']} samples of each"
  )
  table.add_column("")
  table.add_column("share", justify="right")
  table.add_column("95 % interval", justify="right")
  rows = {"greedy pass@1": found["greedy_pass_at_1"]}
  rows |= {f"pass@{k}": value for k, value in found["pass_at_k"].items()}
  rows["mixed groups"] = found["mixed"]
  for name, value in rows.items():
    between = f"{value['low']:.1%} to {value['high']:.1%}"
    table.add_row(name, f"{value['mean']:.1%}", between)
  for name in ("truncated", "unparsed", "undecided"):
    table.add_row(name, f"{found[name]:.1%}", "")
  return table
