"""How much of a whole tree search is not its networks.

The time of a search whose expansions are replayed (`search_replay`) over the
time of the search itself, both one dispatch: at the quickstart's sizes, and
with a network of 135 M parameters.
"""

from __future__ import annotations

import functools
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import fixed_thoughts
import jax
import jax.numpy as jnp
import quickstart
import search_replay
import timing

from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import expand
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.pipelines import config_file
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.search import mcts

# SmolLM2-135M's sizes.
NETWORK_135M = transformer.NetworkConfig(
  vocab_size=49_152,
  model_size=576,
  num_layers=30,
  num_heads=9,
  num_kv_heads=3,
  head_size=64,
  mlp_size=1536,
  heads=("language", "thought"),
)
PROBLEMS_135M, CANDIDATES_135M, PASSES_135M = 2, 4, 4
PROMPT_135M, THOUGHT_135M = 32, 16
THOUGHT_END, END = 1, 2


def share_135m(repetitions: int) -> dict[str, float]:
  """Returns the share with 135 M random parameters."""
  network = fixed_thoughts.wrap(
    network_lib.Network(NETWORK_135M), THOUGHT_135M, THOUGHT_END, END
  )
  config = expand.ExpandConfig(
    CANDIDATES_135M,
    PASSES_135M,
    THOUGHT_135M,
    boundaries.single(THOUGHT_END),
    (END,),
  )
  params = expand.SearchParams(jax.jit(network.init)(jax.random.key(0)))
  shape = (PROBLEMS_135M, PROMPT_135M)
  prompt = jax.random.randint(
    jax.random.key(1), shape, 3, network.config.vocab_size
  )
  length = jnp.full(PROBLEMS_135M, PROMPT_135M)
  problems = prompt, length, jnp.arange(PROBLEMS_135M)
  seconds = _seconds(
    network,
    None,
    config,
    mcts.MCTSConfig(CANDIDATES_135M),
    PASSES_135M,
    (params, jax.random.key(2), *problems),
    _jit,
    repetitions,
  )
  return _figures("135m", seconds, "bookkeeping_share_135m")


def share_quickstart(repetitions: int) -> dict[str, float]:
  """Returns the share of the quickstart's search, as its pipeline runs it."""
  with tempfile.TemporaryDirectory() as folder:
    experiment = experiment_lib.build(
      config_file.load(quickstart.BASE, ""), pathlib.Path(folder)
    )
    learner = quickstart.Learner(experiment)
    learner.train(quickstart.WARMUP_STEPS)
    policy = learner.state.params
    prm = network_lib.graft(policy, experiment.prm.init(experiment.rng(6)))
    batch = experiment.problems("validation", 0, quickstart.PROBLEMS)
    problems = batch.prompt, batch.prompt_length, batch.problem_id
    draw = experiment.config.search.draw
    seconds = _seconds(
      experiment.policy,
      experiment.prm,
      experiment.expand_config(quickstart.CANDIDATES, draw),
      mcts.MCTSConfig(quickstart.CANDIDATES, skip_exhausted=True),
      quickstart.PASSES,
      (expand.SearchParams(policy, prm), experiment.rng(3), *problems),
      experiment.map_problems,
      repetitions,
    )
  return _figures("quickstart", seconds, "bookkeeping_share_quickstart")


def _jit(fn, num_shared, donate_argnums=()):
  """Jits as `Experiment.map_problems` does, for one device."""
  del num_shared
  return jax.jit(fn, donate_argnums=donate_argnums)


def _figures(name, seconds, key):
  return {
    f"search {name}, ms": 1000 * seconds["search"],
    f"{name}, replayed, ms": 1000 * seconds["replay"],
    key: seconds["replay"] / seconds["search"],
  }


def _seconds(
  policy: network_lib.Network,
  prm: network_lib.Network | None,
  expand_config: expand.ExpandConfig,
  rule: mcts.MCTSConfig,
  passes: int,
  arguments: tuple[Any, ...],
  map_problems: Callable[..., Any],
  repetitions: int,
) -> dict[str, float]:
  """Returns the seconds of the search and of its replay.

  Args:
    policy: Writes thoughts.
    prm: Scores them, or None.
    expand_config: How a leaf is expanded.
    rule: The search; one leaf per pass.
    passes: Its passes.
    arguments: Parameters, rng, prompts, their lengths and the problems' ids.
    map_problems: Jits a function of so many shared arguments.
    repetitions: Timed calls of each.
  """
  params, rng, *problems = arguments
  size, capacity = expand_config.max_thought_tokens, rule.capacity(passes)
  expand_fn = expand.make_expand_fn(policy, prm, expand_config)
  replayed = search_replay.replay_fn(1, rule.num_candidates)

  plant = lambda root: tree_lib.plant(root, capacity, size, capacity * size)

  def begin(params, *problems):
    return plant(expand.make_root(policy, prm, params, *problems))

  def run(params, rng, count, tree):
    return mcts.run(params, rng, tree, expand_fn, rule, count)

  def replay(rng, count, children, root):
    return mcts.run(children, rng, plant(root), replayed, rule, count)

  # As `pipelines.search` does it: the planted trees are given to the search.
  begin = functools.partial(map_problems(begin, 1), params, *problems)
  run = functools.partial(map_problems(run, 3, (3,)), params, rng)
  tree, children = search_replay.record(
    functools.partial(run, 1), begin(), passes, 1, rule.num_candidates
  )
  replay = functools.partial(map_problems(replay, 2), rng, passes)
  calls = {
    "search": lambda: run(passes, begin()),
    "replay": functools.partial(replay, children, search_replay.root(begin())),
  }
  _check(tree, *(call() for call in calls.values()))
  return timing.interleaved_medians(calls, repetitions)


def _check(*trees: tree_lib.Tree) -> None:
  """Raises unless all trees say and count the same."""
  for name in ("tokens", "node_visits", "slots", "policy_tokens"):
    first, *others = (jax.device_get(getattr(tree, name)) for tree in trees)
    if any((other != first).any() for other in others):
      raise AssertionError(f"the replay differs from the search in {name}.")
