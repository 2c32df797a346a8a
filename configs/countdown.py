"""Combining numbers to a target: what counts is how much search it takes."""

import ml_collections

from . import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """Returns the config; variants: "", "reproduce", "methods" and "tiny".

  "methods" measures every search there is; "tiny" is for tests.
  """
  config = base.get_config()
  config.task.name = "countdown"
  # Numbers small enough for a small network to know its sums, so that what is
  # hard is to see which operations lead on.
  config.task.countdown.update(
    max_number=10, target_min=10, target_max=30, max_value=30
  )
  config.sft.update(
    demonstrations=2000, decay_steps=800, min_steps=900, max_steps=900
  )
  config.sft.optimizer.end_fraction = 0.02
  # Many problems once: what the PRM has to learn is where each can still go.
  config.collect.update(problems=12288, rollouts=2, labelled=12288)
  config.prm.steps = 800
  config.prm.orm_steps = 200  # The end of a solution is plain to see.
  # Most of a node's thoughts lead nowhere, so what counts is to keep many
  # nodes. The last operation is certain, and drawing others beside it without
  # replacement would pay for slips: a nucleus leaves them out.
  config.search.update(
    beam_candidates=2, beam_stretch=1.5, mcts_candidates=6, top_p=0.9
  )
  config.loop.update(iterations=1, baselines=("demonstrations",))
  config.evaluate.problems = 500
  if variant == "reproduce":
    base.make_full(config)
  elif variant == "methods":
    _make_methods(config)
  elif variant == "tiny":
    _make_tiny(config)
  elif variant:
    raise ValueError(f"countdown.py has no variant {variant!r}; try 'tiny'.")
  return config


def _make_methods(config):
  """Asks for every search, and for what a wrong value does to two of them."""
  config.evaluate.methods = (
    "beam",
    "dvts",
    "lookahead",
    "rebase",
    "particles",
    "tot_bfs",
    "tot_dfs",
    "mcts",
    "uct",
    "gumbel",
    "rstar",
    "rest_mcts",
  )
  config.evaluate.value_errors = (0.0, 1.0)
  config.evaluate.budgets = (1, 2, 4, 8, 16, 32)


def _make_tiny(config):
  """Shrinks everything to what a test can wait for."""
  config.task.countdown.update(
    numbers=2, max_number=5, target_min=1, target_max=20, max_value=25
  )
  config.network.update(model_size=32, num_layers=2, head_size=8, mlp_size=64)
  config.network.max_positions = 64
  config.sft.update(
    demonstrations=100,
    decay_steps=40,
    max_steps=40,
    min_steps=40,
    validate_every=20,
    validation_problems=32,
  )
  config.collect.update(
    problems=16, rollouts=4, labelled=16, label_rollouts=2, rows=128
  )
  config.imitation.update(steps=5, batch_size=32)
  config.prm.update(steps=10, batch_size=32)
  config.sft.optimizer.warmup_steps = 10
  config.prm.optimizer.warmup_steps = 2
  config.rl.update(steps=3, problems_per_step=8, rollouts=4)
  config.loop.iterations = 1
  config.evaluate.update(
    problems=16, validation_problems=16, budgets=(1, 4), trees=1, rows=128
  )
