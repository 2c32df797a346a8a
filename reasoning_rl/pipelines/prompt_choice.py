"""Which way of asking suits a policy: prompts compared on validation problems.

A gain over a prompt says little where another prompt would have done as well.
So the way that a run asks is chosen before anything is learned, by greedy
accuracy on the same validation problems, and held-out problems stay unread.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import ml_collections
import numpy as np
import rich.table

from reasoning_rl.evaluation import bootstrap
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import problem_batch, sampled
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base
from reasoning_rl.tasks import registry


def config_of(
  config: ml_collections.ConfigDict, prompt: str
) -> ml_collections.ConfigDict:
  """Returns a run's config with another prompt.

  Args:
    config: The run's.
    prompt: Style and number of worked examples, as "ended:4" or "chat:0".

  Raises:
    ConfigError: If there is no such prompt, or the task is not asked in words.
  """
  name = config.task.name
  if "prompt_style" not in config.task.get(name, {}):
    raise ConfigError(
      f"preflight.prompts is for tasks that ask in words, which {name!r} is"
      " not: leave it empty"
    )
  style, colon, shots = prompt.partition(":")
  if not colon or not shots.isdecimal():
    raise ConfigError(
      f"preflight.prompts has {prompt!r}: write a style and a number of worked"
      " examples, such as 'ended:4' or 'chat:0'"
    )
  config = copy.deepcopy(config)
  config.task[name].update(prompt_style=style, shots=int(shots))
  return config


def compare(stage: stage_lib.Stage, policy: Any) -> list[dict[str, Any]]:
  """Measures and prints greedy accuracy under every prompt of the config.

  Args:
    stage: The run; `preflight.prompts` are the prompts.
    policy: The policy's parameters.

  Returns:
    A record of every prompt, best first, as `preflight.json` keeps them.

  Raises:
    ConfigError: If one of the prompts cannot be.
  """
  # All are built before any is measured, which takes minutes.
  asked = {
    prompt: _ask(stage, prompt) for prompt in stage.config.preflight.prompts
  }
  found = []
  for prompt, (experiment, problems) in asked.items():
    with stage_lib.ready(experiment.task, stage.progress.say):
      greedy = sampled.greedy(experiment, policy, problems)
    right = greedy.correct[:, 0].astype(np.float64)
    record = {
      "prompt": prompt,
      "greedy_pass_at_1": dataclasses.asdict(bootstrap.mean_interval(right)),
      "longest_prompt": int(problems.prompt_length.max()),
      "truncated": float(greedy.truncated_mask.mean()),
      "unparsed": float(greedy.unparsed_mask.mean()),
      "undecided": float(greedy.undecided_mask.mean()),
    }
    found.append(record)
    stage.progress.say(f"{prompt} is right in {right.mean():.1%}")
  found.sort(key=lambda record: -record["greedy_pass_at_1"]["mean"])
  stage.progress.console.print(_table(stage.config, found))
  return found


def _ask(
  stage: stage_lib.Stage, prompt: str
) -> tuple[experiment_lib.Experiment, problem_batch.ProblemBatch]:
  """Returns the run with another prompt, and the problems so asked."""
  config = config_of(stage.config, prompt)
  name, count = config.task.name, config.preflight.problems
  asking = dataclasses.replace(
    stage.experiment, task=registry.make(name, **config.task[name].to_dict())
  )
  asked = task_base.different(
    asking.task, "validation", 0, count, "lower preflight.problems"
  )
  # Not the longest that the task could have: padding is read as well.
  longest = max(len(asking.encode_prompt(problem)) for problem in asked)
  config.data.max_prompt_tokens = longest
  try:
    experiment = experiment_lib.build(config, stage.workdir.path)
  except ConfigError as error:
    raise ConfigError(f"preflight.prompts has {prompt!r}: {error}") from error
  return experiment, experiment.different_problems("validation", 0, count)


def _table(config, found) -> rich.table.Table:
  task, most = config.task[config.task.name], config.data.max_prompt_tokens
  own = f"{task.prompt_style}:{task.shots}"
  table = rich.table.Table(
    title=f"greedy on {config.preflight.problems} validation problems"
  )
  lost = {"truncated": "no end", "unparsed": "no answer", "undecided": "?"}
  columns = ("prompt", "pass@1", "95 % interval", *lost.values(), "longest")
  for column in columns:
    table.add_column(column)
  for record in found:
    value, longest = record["greedy_pass_at_1"], record["longest_prompt"]
    # A run refuses what its limit does not hold.
    fits = not most or longest <= most
    table.add_row(
      record["prompt"] + (" (the config's)" if record["prompt"] == own else ""),
      f"{value['mean']:.1%}",
      f"{value['low']:.1%} to {value['high']:.1%}",
      *[f"{record[name]:.1%}" for name in lost],
      f"{longest} tokens" + ("" if fits else f", above {most}"),
    )
  return table
