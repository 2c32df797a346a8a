"""Monte-Carlo tree search over thoughts: simulate, expand, backup.

A simulation ends in a node without children, which is expanded into `A`
candidate thoughts, and the node's own value is backed up. The candidates wait,
unvisited, until one is selected. Nodes are visited one per simulation, so that
visit counts equal mctx's where one leaf is taken per pass.

UCT, PUCT, Gumbel search, rStar and ReST-MCTS* are this one search; they differ
in the rule that ranks children, in what is backed up, and in whether a new
node's best candidate is rolled out. The tree is the whole state: running on
from a finished tree is the same search with more passes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from reasoning_rl import tree as tree_lib
from reasoning_rl.search import backup as backup_lib
from reasoning_rl.search import gumbel as gumbel_lib
from reasoning_rl.search import rest, selection


@dataclasses.dataclass(frozen=True)
class MCTSConfig:
  """Shape and rules of the search.

  `uct`, `puct`, `gumbel`, `rstar` and `rest_mcts` make those of the field.

  Attributes:
    num_candidates: Children per expansion, `A`.
    leaves_per_pass: Leaves taken per tree per pass, `S`; those after the first
      see the earlier ones as visits of the worst value (virtual loss).
    rule: Ranks the children of a node.
    backup: What a node's value is, one of `backup.KINDS`.
    skip_exhausted: Whether a complete solution is visited once only, and a node
      no more once that holds of all below it. Its score will not change, and
      what is left of the budget goes where something is still unknown; False
      counts visits as mctx does.
    rollout_thoughts: Thoughts that are rolled out greedily from the best
      candidate of an expanded node and then forgotten.
    rollout_weight: Share of the best value seen on a rollout in the
      candidate's own, α.
    max_depth: Nodes of this depth are not expanded, nor rolled out.
    stop_value: A problem rests once a simulation has ended in a complete
      solution that is worth at least this.
    stop_open: Whether an open node is enough to stop at.
  """

  num_candidates: int
  leaves_per_pass: int = 1
  rule: selection.Rule = selection.PUCTConfig()
  backup: str = "mean"
  skip_exhausted: bool = False
  rollout_thoughts: int = 0
  rollout_weight: float = 0.5
  max_depth: int = 1_000_000
  stop_value: float = math.inf
  stop_open: bool = False

  def __post_init__(self):
    """Refuses shapes and rules that do not exist or do not go together."""
    if self.num_candidates < 1 or self.leaves_per_pass < 1:
      raise ValueError(
        f"num_candidates is {self.num_candidates} and leaves_per_pass is"
        f" {self.leaves_per_pass}; use at least 1."
      )
    if self.backup not in backup_lib.KINDS:
      raise ValueError(
        f"backup is {self.backup!r}; use one of {backup_lib.KINDS}."
      )
    if self.backup == "outcome" and not hasattr(self.rule, "first_value"):
      raise ValueError("backup 'outcome' needs a UCTConfig as its rule.")
    if self.backup == "children" and self.leaves_per_pass > 1:
      raise ValueError(
        "backup 'children' has no virtual loss: set leaves_per_pass to 1."
      )
    if self.rollout_thoughts and self.backup != "children":
      raise ValueError("rollout_thoughts needs backup 'children'.")

  def capacity(self, num_passes: int) -> int:
    """Returns the nodes that `num_passes` can fill, rollouts included."""
    width = self.leaves_per_pass * self.num_candidates
    return 1 + num_passes * width + self.rollout_thoughts

  @property
  def thoughts_per_pass(self) -> int:
    """Thoughts that one pass may add to a tree, rolled ones included."""
    width = self.leaves_per_pass * self.num_candidates
    return width + self.rollout_thoughts


def uct(
  num_candidates: int, constant: float = 2**0.5, **options: Any
) -> MCTSConfig:
  """Returns UCT ("Bandit based Monte-Carlo Planning", ECML 2006)."""
  rule = selection.UCTConfig(constant)
  return MCTSConfig(num_candidates, rule=rule, **options)


def puct(
  num_candidates: int, pb_c_init: float = 1.25, **options: Any
) -> MCTSConfig:
  """Returns PUCT with AlphaZero's constants (arXiv:1911.08265)."""
  rule = selection.PUCTConfig(pb_c_init)
  return MCTSConfig(num_candidates, rule=rule, **options)


def gumbel(
  num_candidates: int, num_simulations: int, **options: Any
) -> MCTSConfig:
  """Returns Gumbel search with Sequential Halving; see `search.gumbel`."""
  rule = gumbel_lib.GumbelConfig(num_simulations)
  return MCTSConfig(num_candidates, rule=rule, **options)


def rstar(
  num_candidates: int, prior_value: bool = True, **options: Any
) -> MCTSConfig:
  """Returns rStar-Math's search (arXiv:2501.04519, section 3.2).

  Args:
    num_candidates: Children per expansion, `A`; 8 in the paper.
    prior_value: Whether Q begins with the PRM's score, as in its later rounds.
    **options: Of `MCTSConfig`.
  """
  rule = selection.UCTConfig(2.0, scaled=True, prior_value=prior_value)
  return MCTSConfig(num_candidates, rule=rule, backup="outcome", **options)


def rest_mcts(num_candidates: int = 3, **options: Any) -> MCTSConfig:
  """Returns ReST-MCTS* (arXiv:2406.03816) with its authors' constants.

  Its self-critic's "end" is the policy's own end of a solution; a node that
  reaches the end gate stops the search.
  """
  rule = selection.UCTConfig(0.7 * 2**0.5, unvisited_bonus=1.0)
  defaults = dict(rollout_thoughts=3, stop_value=0.9, stop_open=True)
  options = defaults | options
  return MCTSConfig(num_candidates, rule=rule, backup="children", **options)


def run(
  params: Any,
  rng: Key[Array, ""],
  tree: tree_lib.Tree,
  expand_fn: Any,
  config: MCTSConfig,
  num_passes: int | Int[Array, ""],
  token_budget: Int[Array, " B"] | None = None,
  rollout_fn: Any = None,
) -> tree_lib.Tree:
  """Searches on from `tree`, all problems at once.

  Args:
    params: Passed to `expand_fn`.
    rng: Folded by problem and by what it has drawn inside `expand_fn`; the same
      for every call that continues one search.
    tree: Planted or searched trees with room for the passes of all calls: each
      takes the nodes of an expansion, also of a problem that only visits.
    expand_fn: `expand_fn(params, rng, tree, leaf) -> Children`.
    config: The rules.
    num_passes: Most passes to make.
    token_budget: A problem takes part only while its policy tokens are below
      this.
    rollout_fn: Like `expand_fn`, with one greedy candidate; needed where
      `config.rollout_thoughts` asks for rollouts.

  Returns:
    The trees; a problem's tree stops changing once its budget or its pool is
    used up, its root exhausted, or what it was to stop at is found.
  """
  if config.rollout_thoughts and rollout_fn is None:
    raise ValueError("config.rollout_thoughts asks for a rollout_fn: give one.")
  noise = _root_noise(rng, tree, config)
  room = config.thoughts_per_pass

  def cond(carry):
    index, tree = carry
    fits = tree.next_node[0] + room <= tree.capacity
    active = _active(tree, token_budget, config)
    return (index < num_passes) & fits & jnp.any(active)

  def body(carry):
    index, tree = carry
    active = _active(tree, token_budget, config)
    leaf = select_leaves(tree, config, active, noise)
    tree = _stopped(tree, leaf, config)
    leaf = jnp.where(tree.stopped_mask[:, None], tree_lib.Tree.NO_NODE, leaf)
    target = _targets(tree, leaf, config)
    children = expand_fn(params, rng, tree, target)
    tree = tree_lib.add_children(tree, target, children)
    if config.backup == "children":
      tree = rest.raise_best_child(
        params,
        rng,
        tree,
        target[:, 0],
        rollout_fn,
        config.rule,
        config.num_candidates,
        config.rollout_thoughts,
        config.rollout_weight,
        config.max_depth,
      )
    for s in range(config.leaves_per_pass):
      tree = backup(tree, leaf[:, s], config)
    return index + 1, tree

  start = (jnp.asarray(0, jnp.int32), tree)
  return jax.lax.while_loop(cond, body, start)[1]


def backup(
  tree: tree_lib.Tree,
  leaf: Int[Array, " B"],
  config: MCTSConfig,
  virtual: bool = False,
) -> tree_lib.Tree:
  """Backs one simulation up by the config's rules; see `backup.backup`."""
  return backup_lib.backup(
    tree,
    leaf,
    config.rule,
    config.num_candidates,
    config.backup,
    virtual=virtual,
    skip_exhausted=config.skip_exhausted,
  )


def select_leaves(
  tree: tree_lib.Tree,
  config: MCTSConfig,
  active: Bool[Array, " B"],
  noise: Array | None = None,
) -> Int[Array, "B S"]:
  """Selects `S` leaves, each under the virtual loss of those before it.

  Args:
    tree: The trees.
    config: The rules.
    active: Problems that take part; the others get `NO_NODE`.
    noise: Of Gumbel search.
  """
  leaves = []
  for s in range(config.leaves_per_pass):
    leaf = simulate(tree, config, noise)
    repeated = jnp.zeros_like(active)
    for earlier in leaves:
      repeated |= leaf == earlier
    leaf = jnp.where(active, leaf, tree_lib.Tree.NO_NODE)
    leaves.append(jnp.where(repeated, tree_lib.Tree.NO_NODE, leaf))
    if s + 1 < config.leaves_per_pass:
      # Also where a leaf is repeated, or all that follow would repeat it.
      tree = backup(tree, leaf, config, virtual=True)
  return jnp.stack(leaves, axis=1)


def simulate(
  tree: tree_lib.Tree, config: MCTSConfig, noise: Array | None = None
) -> Int[Array, " B"]:
  """Returns the node without children that a simulation ends in."""
  at_root = lambda field: _at_root(tree, field)
  if not isinstance(config.rule, gumbel_lib.GumbelConfig):
    return at_root(tree.best_leaf)
  family = backup_lib.family_of(tree, tree.root, config.num_candidates)
  simulation = family.visits - 1
  scores = config.rule.root_scores
  best = backup_lib.best_of(scores, family, noise.T, simulation)
  first = at_root(tree.children_start)
  leaf = tree_lib.at_nodes(tree.best_leaf, (first + best)[:, None])[:, 0]
  return jnp.where(first >= 0, leaf, tree.root)


def _at_root(tree, field) -> Array:
  """Returns a field's entry at the root of each problem's search."""
  return tree_lib.at_nodes(field, tree.root[:, None])[:, 0]


def _root_noise(rng, tree, config):
  """Returns the noise of Gumbel search; None of the others."""
  if not isinstance(config.rule, gumbel_lib.GumbelConfig):
    return None
  return config.rule.gumbel(
    rng, tree.problem_id, tree.root, config.num_candidates
  )


def _active(tree, token_budget, config) -> Bool[Array, " B"]:
  """Returns which problems may expand once more."""
  active = ~_at_root(tree, tree.exhausted_mask)
  active &= ~tree.stopped_mask
  if tree.pool_size:
    need = config.thoughts_per_pass * tree.tokens.shape[2]
    active &= tree.pool_used + need <= tree.pool_size
  if token_budget is not None:
    active &= tree.policy_tokens < token_budget
  return active


def _targets(tree, leaf, config) -> Int[Array, "B S"]:
  """Returns the leaves that are to be expanded, `NO_NODE` for the others."""
  openable = tree_lib.at_nodes(tree.open_mask, leaf) & (leaf >= 0)
  openable &= tree_lib.at_nodes(tree.children_start, leaf) < 0
  openable &= tree_lib.at_nodes(tree.depth, leaf) < config.max_depth
  openable &= tree_lib.at_nodes(tree.held_mask, leaf)
  return jnp.where(openable, leaf, tree_lib.Tree.NO_NODE)


def _stopped(tree, leaf, config) -> tree_lib.Tree:
  """Marks the problems that have found what they were to stop at."""
  if config.stop_value == math.inf:
    return tree
  read = lambda field: tree_lib.at_nodes(field, leaf)
  # What an outcome backup makes of a node is no longer on the scale of scores.
  score = read(tree.rewards) + read(tree.discounts) * read(tree.raw_values)
  worth = score if config.backup == "outcome" else read(tree.qvalues)
  enough = (worth >= config.stop_value) & (leaf >= 0)
  enough &= leaf != tree.root[:, None]
  if not config.stop_open:
    enough &= read(tree.terminal_mask)
  return tree.replace(stopped_mask=tree.stopped_mask | jnp.any(enough, axis=1))
