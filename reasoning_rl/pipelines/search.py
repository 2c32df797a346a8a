"""Test-time search over many problems: one compiled program per method."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from reasoning_rl import tree as tree_lib
from reasoning_rl.decoding import expand, sampling
from reasoning_rl.evaluation import accounting
from reasoning_rl.models import transformer
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import methods, plans, problem_batch
from reasoning_rl.pipelines import sampler as sampler_lib
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.search import extract, frontier, mcts

METHODS = methods.METHODS
Plan, plan, runs = plans.Plan, plans.plan, plans.runs


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


class Searcher:
  """Runs one plan on any number of problems."""

  def __init__(self, experiment: experiment_lib.Experiment, search: Plan):
    """Prepares the search.

    Args:
      experiment: The run.
      search: The method and its size.
    """
    self.experiment, self.plan = experiment, search
    self._expand_fn = self._make_expand_fn(search.candidates, search.draw)
    self._rollout_fn = None
    if search.rolls_out:
      self._rollout_fn = self._make_expand_fn(1, "independent", sampling.GREEDY)
    self._plant = experiment.map_problems(
      self._plant_fn, 1, static_argnames=("shared",)
    )
    self._run = experiment.map_problems(self._run_fn, 2, donate_argnums=(2,))

  def _make_expand_fn(self, candidates, draw, how=None):
    experiment = self.experiment
    return expand.make_expand_fn(
      experiment.policy,
      experiment.search_prm,
      experiment.expand_config(candidates, draw, how),
    )

  @property
  def slots(self) -> int:
    """Tokens whose keys and values one problem may need, its prompt's too."""
    return self.plan.slots + self.experiment.prompt_size

  def token_bytes(self) -> int:
    """Returns the bytes of one token's keys and values, in every network."""
    networks = [self.experiment.policy]
    if self.experiment.search_prm is not None:
      networks.append(self.experiment.search_prm)
    return sum(bytes_per_token(n.config) for n in networks)

  def max_problems(self) -> int:
    """Returns how many problems `search.pool_mebibytes` holds, or refuses."""
    config, each = self.experiment.config.search, self.token_bytes()
    fit = config.pool_mebibytes * 2**20 // (self.slots * each)
    if fit < 1:
      need = self.slots * each / 2**20
      raise ConfigError(
        f"one {self.plan.method} search of {self.plan.passes} passes needs"
        f" {self.slots:,} tokens x {each:,} bytes = {need:,.1f} MiB of keys and"
        f" values and search.pool_mebibytes is {config.pool_mebibytes}: raise"
        " it or lower the budget."
      )
    return fit

  def _plant_fn(self, params, prompt, prompt_length, problem_id, shared):
    experiment, search = self.experiment, self.plan
    root = expand.make_root(
      experiment.policy,
      experiment.search_prm,
      params,
      prompt,
      prompt_length,
      problem_id,
      shared,
    )
    tree = tree_lib.plant(
      root,
      search.rules.capacity(search.passes),
      experiment.thought_size,
      search.slots,
      reuse=not search.is_tree,
    )
    return tree if search.is_tree else frontier.start(tree, search.rules)

  def _run_fn(self, params, rng, state, token_budget):
    run = mcts.run if self.plan.is_tree else frontier.run
    return run(
      params,
      rng,
      state,
      self._expand_fn,
      self.plan.rules,
      self.plan.passes,
      token_budget,
      self._rollout_fn,
    )

  def search(
    self,
    params: expand.SearchParams,
    rng: jax.Array,
    problems: problem_batch.ProblemBatch,
    token_budgets: tuple[float, ...] = (),
  ) -> list[Found]:
    """Searches all problems.

    Args:
      params: Of the policy and the PRM.
      rng: Consumed; folded by problem.
      problems: What to solve.
      token_budgets: Rising policy-token budgets per problem; the same search
        goes on from one to the next. None given, it has no limit.

    Returns:
      What was found at each budget.
    """
    begin = time.monotonic()
    state = self._plant(
      params,
      self.experiment.trim_prompts(problems),
      problems.prompt_length,
      problems.problem_id,
      shared=problems.shared,
    )
    found = []
    for budget in token_budgets or (np.inf,):
      limit = int(min(budget, np.iinfo(np.int32).max))
      budgets = jnp.full(len(problems), limit, jnp.int32)
      state = self._run(params, rng, state, budgets)
      tree = state if self.plan.is_tree else state.tree
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
  problems: problem_batch.ProblemBatch,
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
