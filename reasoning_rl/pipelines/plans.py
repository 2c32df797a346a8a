"""Which search of which size costs what: every method at a budget.

A budget is samples' worth of policy tokens. Frontier searches of N samples'
worth decode N thoughts per depth; tree searches expand until their tokens are
spent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from reasoning_rl import pool as pool_lib
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import methods
from reasoning_rl.search import frontier, gumbel, mcts, selection


@dataclasses.dataclass(frozen=True)
class Plan:
  """A method at a size.

  Attributes:
    method: One of `methods.METHODS`.
    rules: Of its search.
    passes: Most passes.
    slots: Tokens whose keys and values fit, per problem.
    draw: How a node's candidates come about.
    budgeted: Whether the search runs until its tokens are spent.
  """

  method: str
  rules: frontier.FrontierConfig | mcts.MCTSConfig
  passes: int
  slots: int
  draw: str
  budgeted: bool

  @property
  def is_tree(self) -> bool:
    """Whether it is a tree search."""
    return isinstance(self.rules, mcts.MCTSConfig)

  @property
  def candidates(self) -> int:
    """Thoughts per expanded node, `A`."""
    return self.rules.num_candidates

  @property
  def width(self) -> int:
    """Nodes expanded per pass, `S`."""
    rules = self.rules
    return rules.leaves_per_pass if self.is_tree else rules.leaves

  @property
  def thoughts_per_pass(self) -> int:
    """Most thoughts that a pass decodes."""
    if self.is_tree:
      return self.rules.thoughts_per_pass
    return self.rules.capacity(1) - 1

  @property
  def rolls_out(self) -> bool:
    """Whether the search needs a greedy `rollout_fn`."""
    rules = self.rules
    return bool(rules.rollout_thoughts if self.is_tree else rules.lookahead)


def plan(
  experiment: experiment_lib.Experiment, method: str, budget: int
) -> Plan:
  """Returns the search that costs about `budget` samples' worth of tokens.

  Beam search samples `budget` thoughts per depth, M for each of the N / M it
  keeps (arXiv:2408.03314); with lookahead k it samples N / (k + 1), and rolls k
  more for each, fewer near the end. Tree searches expand M thoughts per pass
  until their tokens are spent, so their passes are only bounded here; their M
  grows with the budget, see `_tree_candidates`. Where a nucleus leaves an
  expansion fewer than M thoughts, the config may ask for more beams.
  """
  if method not in methods.METHODS:
    raise ValueError(f"method is {method!r}; use one of {methods.METHODS}.")
  if budget < 1:
    raise ValueError(f"the budget is {budget} samples' worth: give at least 1.")
  if method in methods.TREE:
    return _tree_plan(experiment, method, budget)
  return _frontier_plan(experiment, method, budget)


def _frontier_plan(experiment, method, budget) -> Plan:
  config, depth = experiment.config.search, experiment.max_thoughts
  rules = _frontier_rules(config, method, budget, depth)
  size = experiment.thought_size
  slots = pool_lib.frontier_slots(
    rules.width, rules.num_candidates, depth, size, reuse=True
  )
  # Rolled thoughts are in the pool only for as long as the pass lasts.
  slots += rules.lookahead * rules.leaves * rules.num_candidates * size
  passes = depth
  if method == "tot_dfs":  # One node per pass, until the tokens are spent.
    passes = budget * depth
    # What waits on the stack are the siblings of one path.
    slots = rules.num_candidates * (depth + 1) * size
  draw = "independent" if method in methods.SAMPLES else config.draw
  return Plan(method, rules, passes, slots, draw, method == "tot_dfs")


def _frontier_rules(config, method, budget, depth):
  """Returns the rules of a frontier search of `budget` thoughts per depth."""
  common = dict(
    allocate=methods.FRONTIER[method],
    aggregation=config.aggregation,
    stop_score=config.stop_score,
  )
  if method in methods.SAMPLES:
    temperature = {
      "rebase": config.rebase_temperature,
      "particles": config.particle_temperature,
    }
    return frontier.FrontierConfig(
      budget, temperature=temperature.get(method, 1.0), **common
    )
  if not method.startswith("tot"):
    common["likelihood"] = config.likelihood
  if method == "lookahead":
    common["lookahead"] = config.lookahead
    budget = max(1, budget // (config.lookahead + 1))
  candidates = min(config.beam_candidates, budget)
  if method.startswith("tot"):
    common["prune_score"] = config.prune_score
  if method == "tot_dfs":
    candidates = _tree_candidates(candidates, budget, depth)
    # The stack holds the siblings left behind at every depth.
    width = 1 + (candidates - 1) * depth
    return frontier.FrontierConfig(
      width, candidates, leaves_per_pass=1, **common
    )
  width = max(1, int(budget * config.beam_stretch) // candidates)
  # Subtrees never compete, so none takes over another's slot.
  refill = method != "dvts"
  return frontier.FrontierConfig(width, candidates, refill=refill, **common)


def _tree_plan(experiment, method, budget) -> Plan:
  config, depth = experiment.config.search, experiment.max_thoughts
  candidates = _tree_candidates(config.mcts_candidates, budget, depth)
  rules = _tree_rules(config, method, candidates, budget, depth)
  # A pass decodes a thought at the least, or visits a complete solution.
  passes = -(-2 * budget * depth // rules.leaves_per_pass)
  # Thoughts in common beginnings are paid once and kept once each.
  thoughts = max(3 * budget * depth, rules.thoughts_per_pass)
  slots = thoughts * experiment.thought_size
  return Plan(method, rules, passes, slots, config.draw, True)


def _tree_rules(config, method, candidates, budget, depth) -> mcts.MCTSConfig:
  """Returns the rules of a tree search."""
  options: dict[str, Any] = dict(
    leaves_per_pass=config.leaves_per_pass,
    skip_exhausted=config.skip_exhausted,
    stop_value=config.stop_score,
  )
  if method == "mcts":
    rule = selection.PUCTConfig(config.pb_c_init, value_kind=config.value_kind)
    return mcts.MCTSConfig(candidates, rule=rule, **options)
  if method == "uct":
    return mcts.uct(candidates, config.uct_constant, **options)
  if method == "rstar":
    return mcts.rstar(candidates, **options)
  if method == "gumbel":
    # What is to be halved is the number of expansions that the tokens pay.
    simulations = max(1, budget * depth // candidates - 1)
    rule = gumbel.GumbelConfig(simulations)
    return mcts.MCTSConfig(candidates, rule=rule, **options)
  options |= dict(leaves_per_pass=1, stop_open=False)
  return mcts.rest_mcts(candidates, **options)


def _tree_candidates(least: int, budget: int, depth: int) -> int:
  """Returns the thoughts per expanded node of a tree search, M.

  As many as the config asks for, or as it takes for as many nodes before the
  last thought as the budget pays for solutions: fewer, and the tree would be
  exhausted before the budget. At most half the budget, since the first solution
  alone costs M samples.
  """
  enough = 1
  while enough ** max(1, depth - 1) < budget and enough < budget:
    enough += 1
  return min(max(least, enough), budget, max(2, budget // 2))


def _pays(search: Plan, budget: int) -> bool:
  """Returns whether a budget is enough for more than a sample."""
  if search.is_tree:
    return budget >= 2 * search.candidates
  several = search.candidates > 1 or search.method in methods.SAMPLES
  return budget > 1 and several


def runs(
  experiment: experiment_lib.Experiment,
  method: str,
  budgets: Sequence[int],
  mean_tokens: float,
  mean_thoughts: float,
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
  """Returns which budgets one compiled search serves, and its token limits.

  Left out are budgets of one candidate, which is a sample, and those that do
  not pay for two solutions of a tree. A tree search grows one tree through all
  its budgets of as many candidates, but for Gumbel search, whose budget is
  fixed at the start. It begins no pass once less than half of one is left of
  the budget, and so spends no more than that on average.

  Args:
    experiment: The run.
    method: A search, see `methods.METHODS`.
    budgets: Samples' worth of tokens.
    mean_tokens: Tokens of a sample.
    mean_thoughts: Thoughts of a sample.
  """
  by_tree: dict[tuple[int, ...], list[int]] = {}
  # Problems that visit complete solutions again and again would use up the
  # nodes that a larger budget of the others needs.
  revisits_nothing = experiment.config.search.skip_exhausted
  for budget in budgets:
    at = plan(experiment, method, budget)
    if not _pays(at, budget):
      continue
    own = method == "gumbel" or not at.budgeted or not revisits_nothing
    key = (at.candidates, budget) if own else (at.candidates,)
    by_tree.setdefault(key, []).append(budget)
  found = []
  for served in by_tree.values():
    limits: tuple[float, ...] = ()
    at = plan(experiment, method, served[-1])
    if at.budgeted:
      half = at.thoughts_per_pass * mean_tokens / mean_thoughts / 2
      limits = tuple(b * mean_tokens - half for b in served)
    found.append((tuple(served), limits))
  return found
