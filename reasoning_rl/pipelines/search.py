"""Test-time search over many problems: one compiled program per method."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from reasoning_rl import tree as tree_lib
from reasoning_rl.decoding import expand
from reasoning_rl.evaluation import accounting
from reasoning_rl.models import transformer
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.search import extract, frontier, mcts, selection

METHODS = ("independent", "beam", "mcts")


class Found(NamedTuple):
  """What a search found, problem by problem.

  Attributes:
    tree: Host trees; see `extract`.
    solutions: Complete solutions of each problem.
    policy_tokens: Tokens each problem decoded, discarded branches included.
    prm_tokens: Tokens a separate PRM read.
    pool_bytes: Bytes of keys and values in use per problem, the prompt's too.
    seconds: Wall time per problem.
  """

  tree: tree_lib.Tree
  solutions: list[list[extract.Solution]]
  policy_tokens: Int[np.ndarray, " B"]
  prm_tokens: Int[np.ndarray, " B"]
  pool_bytes: Float[np.ndarray, " B"]
  seconds: float


@dataclasses.dataclass(frozen=True)
class Plan:
  """A method at a size.

  Attributes:
    method: One of `METHODS`.
    width: Frontier width, for frontier searches.
    candidates: Thoughts per expanded node.
    passes: Most passes.
    thoughts: Thoughts whose keys and values fit.
  """

  method: str
  width: int
  candidates: int
  passes: int
  thoughts: int


def plan(
  experiment: experiment_lib.Experiment, method: str, budget: int
) -> Plan:
  """Returns the search that costs about `budget` samples' worth of tokens.

  Beam search samples `budget` thoughts per depth, M for each of the N / M it
  keeps (arXiv:2408.03314). MCTS expands M thoughts per pass until its tokens
  are spent, so its passes are only bounded here; its M grows with the budget,
  see `_tree_candidates`. Where a nucleus leaves an expansion fewer than M
  thoughts, the config may ask for more beams.
  """
  config, depth = experiment.config.search, experiment.max_thoughts
  if method == "independent":
    return Plan(method, budget, 1, depth, budget * depth)
  if method == "beam":
    candidates = min(config.beam_candidates, budget)
    width = max(1, int(budget * config.beam_stretch) // candidates)
    thoughts = width * candidates * depth
    return Plan(method, width, candidates, depth, thoughts)
  if method == "mcts":
    candidates = _tree_candidates(config.mcts_candidates, budget, depth)
    # A pass decodes a thought at the least, or visits a complete solution.
    passes = -(-2 * budget * depth // config.leaves_per_pass)
    # Thoughts in common beginnings are paid once and kept once each.
    thoughts = max(3 * budget * depth, candidates * config.leaves_per_pass)
    return Plan(method, 1, candidates, passes, thoughts)
  raise ValueError(f"method is {method!r}; use one of {METHODS}.")


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


def runs(
  experiment: experiment_lib.Experiment,
  method: str,
  budgets: Sequence[int],
  mean_tokens: float,
) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
  """Returns which budgets one compiled search serves, and its token limits.

  Left out are budgets of one candidate, which is a sample, and those that do
  not pay for two solutions of a tree. A tree search grows one tree through all
  its budgets of as many candidates. It begins no pass once less than half of
  one is left of the budget, and so spends no more than that on average.

  Args:
    experiment: The run.
    method: "beam" or "mcts".
    budgets: Samples' worth of tokens.
    mean_tokens: Tokens of a sample.
  """
  by_candidates: dict[int, list[int]] = {}
  for budget in budgets:
    candidates = plan(experiment, method, budget).candidates
    paid = budget >= 2 * candidates if method == "mcts" else True
    if candidates > 1 and paid:
      by_candidates.setdefault(candidates, []).append(budget)
  if method != "mcts":
    return [((b,), ()) for served in by_candidates.values() for b in served]
  thought = mean_tokens / experiment.max_thoughts
  half = experiment.config.search.leaves_per_pass * thought / 2
  return [
    (tuple(served), tuple(b * mean_tokens - count * half for b in served))
    for count, served in by_candidates.items()
  ]


class Searcher:
  """Runs one plan on any number of problems."""

  def __init__(self, experiment: experiment_lib.Experiment, search: Plan):
    """Prepares the search.

    Args:
      experiment: The run.
      search: The method and its size.
    """
    self.experiment, self.plan = experiment, search
    config = experiment.config.search
    self._expand_fn = expand.make_expand_fn(
      experiment.policy,
      experiment.search_prm,
      experiment.expand_config(
        search.candidates,
        "independent" if search.method == "independent" else config.draw,
      ),
    )
    self._mcts = mcts.MCTSConfig(
      num_candidates=search.candidates,
      leaves_per_pass=config.leaves_per_pass,
      rule=selection.PUCTConfig(
        pb_c_init=config.pb_c_init, value_kind=config.value_kind
      ),
      skip_exhausted=True,
    )
    rule = "independent" if search.method == "independent" else "best"
    self._frontier = frontier.FrontierConfig(
      width=search.width,
      num_candidates=search.candidates,
      allocate=rule,
      aggregation=config.aggregation,
      refill=rule == "best",
    )
    self._plant = experiment.map_problems(self._plant_fn, 1)
    self._run = experiment.map_problems(self._run_fn, 2, donate_argnums=(2,))

  def pool_bytes(self) -> int:
    """Returns the bytes of keys and values that one problem may need."""
    experiment = self.experiment
    slots = self.plan.thoughts * experiment.thought_size
    networks = [experiment.policy]
    if experiment.search_prm is not None:
      networks.append(experiment.search_prm)
    slots += experiment.prompt_size
    return slots * sum(bytes_per_token(n.config) for n in networks)

  def max_problems(self) -> int:
    """Returns how many problems `search.pool_mebibytes` holds, or refuses."""
    config, each = self.experiment.config.search, self.pool_bytes()
    fit = config.pool_mebibytes * 2**20 // each
    if fit < 1:
      raise ConfigError(
        f"one {self.plan.method} search of {self.plan.passes} passes needs"
        f" {each / 2**20:.0f} MiB of keys and values and search.pool_mebibytes"
        f" is {config.pool_mebibytes}: raise it or lower the budget."
      )
    return fit

  def _plant_fn(self, params, prompt, prompt_length, problem_id):
    experiment, is_tree = self.experiment, self.plan.method == "mcts"
    rules = self._mcts if is_tree else self._frontier
    capacity = rules.capacity(self.plan.passes)
    root = expand.make_root(
      experiment.policy,
      experiment.search_prm,
      params,
      prompt,
      prompt_length,
      problem_id,
    )
    size = experiment.thought_size
    tree = tree_lib.plant(root, capacity, size, self.plan.thoughts * size)
    return tree if is_tree else frontier.start(tree, self._frontier)

  def _run_fn(self, params, rng, state, token_budget):
    if self.plan.method == "mcts":
      return mcts.run(
        params,
        rng,
        state,
        self._expand_fn,
        self._mcts,
        self.plan.passes,
        token_budget,
      )
    return frontier.run(
      params, rng, state, self._expand_fn, self._frontier, self.plan.passes
    )

  def search(
    self,
    params: expand.SearchParams,
    rng: jax.Array,
    problems: experiment_lib.ProblemBatch,
    token_budgets: tuple[float, ...] = (),
  ) -> list[Found]:
    """Searches all problems.

    Args:
      params: Of the policy and the PRM.
      rng: Consumed; folded by problem.
      problems: What to solve.
      token_budgets: For MCTS, rising policy-token budgets per problem; the
        same tree grows from one to the next.

    Returns:
      What was found at each budget; one entry for a frontier search.
    """
    begin = time.monotonic()
    state = self._plant(
      params, problems.prompt, problems.prompt_length, problems.problem_id
    )
    found = []
    for budget in token_budgets or (np.inf,):
      limit = int(min(budget, np.iinfo(np.int32).max))
      budgets = jnp.full(len(problems), limit, jnp.int32)
      state = self._run(params, rng, state, budgets)
      tree = state if self.plan.method == "mcts" else state.tree
      host = extract.to_host(tree)
      seconds = (time.monotonic() - begin) / len(problems)
      found.append(self._found(tree, host, seconds))
    return found

  def _found(self, tree, host, seconds) -> Found:
    bytes_of = lambda leaf: leaf.dtype.itemsize * leaf.shape[-1]
    per_token = sum(
      bytes_of(leaf) * leaf.shape[-2] for leaf in jax.tree.leaves(tree.pools)
    )
    used = host.pool_peak + host.prompt_length
    rows = range(len(host.problem_id))
    return Found(
      host,
      [extract.solutions(host, row) for row in rows],
      host.policy_tokens,
      host.prm_tokens,
      used * float(per_token),
      seconds,
    )


def search_pieces(
  searcher: Searcher,
  params: expand.SearchParams,
  rng: jax.Array,
  problems: experiment_lib.ProblemBatch,
  rows: int,
  token_budgets: tuple[float, ...] = (),
) -> list[list[Found]]:
  """Searches in pieces of at most `rows` rows decoded at once.

  Returns:
    Per budget, what was found in each piece; the pieces have one size, so the
    last may repeat problems of the first.
  """
  per_problem = searcher.plan.width * searcher.plan.candidates
  limit = searcher.max_problems()
  most = min(rows // per_problem, limit)
  pieces = []
  for index, _ in searcher.experiment.pieces(len(problems), most):
    piece = sampler_lib.take_problems(problems, index)
    pieces.append(searcher.search(params, rng, piece, token_budgets))
  return [list(at_budget) for at_budget in zip(*pieces, strict=True)]


def bytes_per_token(config: transformer.NetworkConfig) -> int:
  """Returns the bytes of one token's float32 keys and values."""
  return 2 * 4 * config.num_layers * config.num_kv_heads * config.head_size


def network_flops(network: Any, tokens: float, context: float) -> float:
  """Returns the operations a network spends on `tokens` at a mean context."""
  config = network.config
  return accounting.transformer_flops(
    network.num_params(),
    config.num_layers,
    config.num_heads * config.head_size,
    tokens,
    context,
  )
