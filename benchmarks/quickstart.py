"""How fast the quickstart's model samples, learns and searches.

  python benchmarks/quickstart.py

Takes its sizes from configs/base.py and little more than a minute on two idle
cores.
Prints a table of medians over warm, interleaved repetitions, and as its last
line one JSON object. The search is compared with a plain Python loop that
calls the same networks, with cached prefixes, once per new node; with table
networks, whose numbers are exact, both must give the same visit counts.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
import python_search
import rich.console
import rich.table
import table_network
import timing

from reasoning_rl import tree as tree_lib
from reasoning_rl.data import batching
from reasoning_rl.decoding import expand
from reasoning_rl.models import network as network_lib
from reasoning_rl.pipelines import config_file, devices, losses
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.search import mcts
from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib

BASE = pathlib.Path(__file__).parents[1] / "configs" / "base.py"
SAMPLE_SIZES = ((32, 8), (64, 16))  # Problems, rollouts of each.
TRAIN_BATCH = 64
STEPS_PER_TIMING = 4
# Updates on demonstrations before anything is timed, so that thoughts have the
# lengths, and trees the shapes, that they have in use.
WARMUP_STEPS = 120
PASSES, CANDIDATES = 16, 8
PROBLEMS = 32  # As the quickstart searches: `evaluate.rows` over candidates.
REQUIRED_RATIO = 10


class Learner:
  """The policy in supervised training."""

  def __init__(self, experiment: experiment_lib.Experiment):
    """Makes fresh parameters, the jitted step and some batches."""
    config = optimizer_lib.OptimizerConfig(**experiment.config.sft.optimizer)
    optimizer = optimizer_lib.make_optimizer(config)
    params = experiment.policy.init(experiment.rng(0))
    self.state = train_step_lib.init_state(params, optimizer, experiment.mesh)
    batch_sharding = sharding_lib.batch_sharding(experiment.mesh)
    self._step = train_step_lib.make_train_step(
      losses.supervised(experiment.policy),
      optimizer,
      train_step_lib.shardings_of(self.state),
      batch_sharding,
    )
    self._rng = experiment.rng(1)
    self._batches = [
      jax.device_put(_demonstrations(experiment, index), batch_sharding)
      for index in range(16)
    ]

  def train(self, num_steps: int) -> Any:
    """Makes some updates."""
    for index in range(num_steps):
      batch = self._batches[index % len(self._batches)]
      self.state, metrics = self._step(self.state, batch, self._rng)
    return self.state, metrics

  def tokens(self, num_steps: int) -> int:
    """Returns the real tokens, padding apart, that `train` reads."""
    chosen = [self._batches[i % len(self._batches)] for i in range(num_steps)]
    return sum(int(batch.length.sum()) for batch in chosen)


def _demonstrations(experiment, index):
  """Returns one batch of demonstrations."""
  task, encode = experiment.task, experiment.tokenizer.encode
  start = index * TRAIN_BATCH
  problems = [
    task.problem("train", i) for i in range(start, start + TRAIN_BATCH)
  ]
  return batching.supervised_batch(
    [encode(problem.prompt) for problem in problems],
    [experiment.encode_solution(task.demonstration(p)) for p in problems],
    experiment.prompt_size,
    experiment.completion_size,
  )


class Search:
  """One search of one batch of problems, in the engine and in Python."""

  def __init__(
    self,
    experiment: experiment_lib.Experiment,
    policy: network_lib.Network,
    prm: network_lib.Network,
    params: expand.SearchParams,
    num_problems: int,
  ):
    """Prepares the search of the first validation problems."""
    batch = experiment.problems("validation", 0, num_problems)
    problems = batch.prompt, batch.prompt_length, batch.problem_id
    arguments = params, experiment.rng(3), *problems
    # Thoughts that must differ cannot be made by one call each.
    expand_config = experiment.expand_config(CANDIDATES, "merged")
    config = mcts.MCTSConfig(CANDIDATES)
    jitted = _make_search(experiment, policy, prm, expand_config, config)
    self.in_engine = functools.partial(jitted, *arguments)
    loops = [
      python_search.PythonSearch(policy, prm, expand_config, config, count)
      for count in (1, CANDIDATES)
    ]
    self.by_nodes, self.by_expansions = (
      functools.partial(loop.run, *arguments, PASSES) for loop in loops
    )

  def agreement(self) -> tuple[int, int]:
    """Returns the problems whose visit counts are equal, and all problems."""
    engine = python_search.visits_of_trees(self.in_engine())
    python = [python_search.visits_of_nodes(root) for root in self.by_nodes()]
    same = [a == b for a, b in zip(engine, python, strict=True)]
    return sum(same), len(same)


def _make_search(experiment, policy, prm, expand_config, config):
  """Returns the jitted search, as `pipelines.search` makes it."""
  expand_fn = expand.make_expand_fn(policy, prm, expand_config)
  capacity, size = config.capacity(PASSES), expand_config.max_thought_tokens

  def search(params, rng, prompt, prompt_length, problem_id):
    root = expand.make_root(
      policy, prm, params, prompt, prompt_length, problem_id
    )
    tree = tree_lib.plant(root, capacity, size, capacity * size)
    return mcts.run(params, rng, tree, expand_fn, config, PASSES)

  return experiment.map_problems(search, 2)


def check_with_tables(
  experiment: experiment_lib.Experiment, num_problems: int
) -> str:
  """Raises unless both searches agree where numbers are exact."""
  vocab_size = experiment.tokenizer.vocab_size
  policy = table_network.make(vocab_size, "language")
  prm = table_network.make(vocab_size, "thought")
  params = expand.SearchParams(
    policy.init(experiment.rng(4)), prm.init(experiment.rng(5))
  )
  search = Search(experiment, policy, prm, params, num_problems)
  same, count = search.agreement()
  if same != count:
    raise AssertionError(
      f"With table networks the engine and the Python loop agree on {same} of"
      f" {count} trees only: one of them is wrong."
    )
  return f"{same} of {count} trees identical"


def measure(
  experiment: experiment_lib.Experiment, repetitions: int, num_problems: int
) -> tuple[list[tuple[str, str]], dict[str, float]]:
  """Returns the table's rows and the figures of the last line."""
  learner = Learner(experiment)
  learner.train(WARMUP_STEPS)
  # The train step gives its state's buffers back; these are a copy.
  policy = jax.tree.map(np.asarray, learner.state.params)
  prm = network_lib.graft(policy, experiment.prm.init(experiment.rng(6)))
  params = jax.device_put(expand.SearchParams(policy, prm))
  search = Search(
    experiment, experiment.policy, experiment.prm, params, num_problems
  )
  samplers = {
    f"sample {problems} x {group}": functools.partial(
      sampler_lib.Sampler(experiment, group).sample,
      params.policy,
      experiment.rng(2),
      experiment.problems("validation", 0, problems),
    )
    for problems, group in SAMPLE_SIZES
  }
  train = functools.partial(learner.train, STEPS_PER_TIMING)
  seconds = timing.interleaved_medians(
    samplers
    | {
      "train": train,
      "engine": search.in_engine,
      "by_nodes": search.by_nodes,
      "by_expansions": search.by_expansions,
    },
    repetitions,
  )
  tokens = {name: int(f().decoded.length.sum()) for name, f in samplers.items()}
  tokens["train"] = learner.tokens(STEPS_PER_TIMING)
  rates = {name: tokens[name] / seconds[name] for name in tokens}
  rows = _rows(search, seconds, rates, num_problems)
  return rows, {
    "sample_tokens_per_s": round(max(rates[name] for name in samplers)),
    "train_tokens_per_s": round(rates["train"]),
    "search_vs_python_loop": round(seconds["by_nodes"] / seconds["engine"], 2),
  }


def _rows(search, seconds, rates, num_problems) -> list[tuple[str, str]]:
  """Returns the table's rows about what was timed."""
  trees = search.in_engine()
  same, count = search.agreement()
  nodes = int(np.sum(np.asarray(trees.lengths) > 0))
  rows = [(f"{name}, tokens/s", f"{rates[name]:,.0f}") for name in rates]
  (first, second), base = list(rates)[:2], "by_nodes"
  rows += [
    (f"{second} / {first}", f"{rates[second] / rates[first]:.2f}"),
    (
      f"search: {num_problems} problems, {PASSES} passes, {CANDIDATES}"
      " candidates",
      f"{nodes:,} nodes kept, {int(trees.policy_tokens.sum()):,} tokens",
    ),
    ("  engine, one dispatch", f"{1000 * seconds['engine']:,.0f} ms"),
    ("  Python loop, one call per node", f"{1000 * seconds[base]:,.0f} ms"),
    (
      "  Python loop, one call per expansion",
      f"{1000 * seconds['by_expansions']:,.0f} ms",
    ),
    (
      f"  loop per node / engine (at least {REQUIRED_RATIO} wanted)",
      f"{seconds[base] / seconds['engine']:.1f}",
    ),
    (
      "  loop per expansion / engine",
      f"{seconds['by_expansions'] / seconds['engine']:.1f}",
    ),
    ("  same visit counts, these networks", f"{same} of {count} trees"),
  ]
  return rows


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--repetitions", type=int, default=5, help="timed calls of each function"
  )
  parser.add_argument(
    "--problems", type=int, default=PROBLEMS, help="problems searched at once"
  )
  options = parser.parse_args()
  if options.repetitions < 1 or options.problems < 1:
    parser.error("--repetitions and --problems must be at least 1")
  devices.use_all_cores()
  with tempfile.TemporaryDirectory() as folder:
    experiment = experiment_lib.build(
      config_file.load(BASE, ""), pathlib.Path(folder)
    )
    checked = check_with_tables(experiment, options.problems)
    rows, figures = measure(experiment, options.repetitions, options.problems)
  table = rich.table.Table("measured", "median", title="quickstart model")
  sizes = f"prompt {experiment.prompt_size}, "
  sizes += f"completion {experiment.completion_size} tokens, "
  sizes += f"vocabulary {experiment.tokenizer.vocab_size}"
  table.add_row("machine", timing.machine())
  table.add_row("allocator variables", timing.allocator_settings())
  table.add_row("sizes", sizes)
  for row in rows:
    table.add_row(*row)
  table.add_row("  same visit counts, table networks", checked)
  rich.console.Console().print(table)
  print(json.dumps(figures))


if __name__ == "__main__":
  main()
