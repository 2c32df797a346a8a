"""What a search leaves behind: solutions, training targets, trajectories.

On the device and jittable: which complete solution is best, and of every node
the visit distribution over its children and its value, the targets that expert
iteration learns from. On the host: every complete solution, and all of them as
rows for the trajectory store.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from reasoning_rl import pool as pool_lib
from reasoning_rl import tree as tree_lib
from reasoning_rl import types
from reasoning_rl.search import frontier

RULES = ("score", "visits", "value")


@flax.struct.dataclass
class SearchTargets:
  """What can be learnt from every node of a search.

  Attributes:
    children: The node's children; `NO_NODE` where there is none.
    policy: Weight of each child in the visit distribution; sums to 1.
    policy_mask: True at nodes that have a distribution: some child was visited.
    values: Mean return backed up through the node; 0 where nothing may follow.
    qvalues: Of entering the node: reward + discount · value. It scores the
      node's thought, and is what a final thought was paid.
    value_mask: True at nodes that were visited and whose value is finite.
  """

  children: Int[Array, "B N A"]
  policy: Float[Array, "B N A"]
  policy_mask: Bool[Array, "B N"]
  values: Float[Array, "B N"]
  qvalues: Float[Array, "B N"]
  value_mask: Bool[Array, "B N"]


def targets(
  tree: tree_lib.Tree,
  num_candidates: int,
  temperature: float | Float[Array, ""] = 1.0,
) -> SearchTargets:
  """Returns the policy and value targets of all nodes, 0 where masked.

  π(a | s) ∝ N(s, a)^(1/τ), Mastering the game of Go without human knowledge
  (Silver et al. 2017), Methods. A frontier search counts no visits and so
  gives none.

  Args:
    tree: Searched trees, whole or from `to_host`.
    num_candidates: Children per expansion, `A`.
    temperature: τ; 0 puts all weight on the most visited, shared among equals.
  """
  tree = jax.tree.map(jnp.asarray, tree)
  batch, nodes = tree.parents.shape
  offset = jnp.arange(num_candidates, dtype=jnp.int32)
  children = tree.children_start[..., None] + offset[None, None]
  read = lambda field: tree_lib.at_nodes(
    field, children.reshape(batch, -1)
  ).reshape(children.shape)
  expanded = (tree.children_start >= 0) & tree.valid_mask
  exists = read(tree.valid_mask) & expanded[..., None]
  visits = jnp.where(exists, read(tree.node_visits), 0).astype(jnp.float32)
  seen = visits > 0
  logits = jnp.log(jnp.maximum(visits, 1.0))
  # Below the largest before dividing: at τ near 0 only the largest is left.
  logits -= logits.max(axis=-1, keepdims=True)
  logits /= jnp.maximum(temperature, jnp.finfo(jnp.float32).tiny)
  weights = jnp.where(seen, jnp.exp(logits), 0.0)
  total = weights.sum(axis=-1, keepdims=True)
  qvalues, visited = jnp.asarray(tree.qvalues), tree.node_visits > 0
  value_mask = tree.valid_mask & visited & jnp.isfinite(qvalues)
  return SearchTargets(
    children=jnp.where(exists, children, tree_lib.Tree.NO_NODE),
    policy=weights / jnp.maximum(total, 1.0),
    policy_mask=jnp.any(seen, axis=-1),
    # Beyond what it was paid a complete solution is worth nothing.
    values=jnp.where(value_mask & tree.open_mask, tree.node_values, 0.0),
    qvalues=jnp.where(value_mask, qvalues, 0.0),
    value_mask=value_mask,
  )


def best_solution(
  tree: tree_lib.Tree, by: str = "score", aggregation: str = "last"
) -> Int[Array, " B"]:
  """Returns the last node of each problem's best solution below its root.

  Args:
    tree: Searched trees.
    by: "score": the PRM's, over all complete solutions. "visits" and "value":
      walking down from the root to the most visited, or highest valued, child
      that leads to a complete solution; `path_to` gives the way.
    aggregation: How "score" makes one score of a path's; see `FrontierConfig`.

  Returns:
    A node, the earlier one on a tie; `NO_NODE` where nothing was completed.
  """
  if by not in RULES:
    raise ValueError(f"by is {by!r}; use one of {RULES}.")
  tree = jax.tree.map(jnp.asarray, tree)
  complete = tree.terminal_mask & tree.valid_mask
  complete &= pool_lib.subtree(tree, tree.root)
  if by == "score":
    every = jnp.arange(tree.capacity, dtype=jnp.int32)[None]
    every = jnp.broadcast_to(every, tree.parents.shape)
    worth = frontier.path_scores(tree, every, aggregation)
    best = jnp.argmax(jnp.where(complete, _ranked(worth), -jnp.inf), axis=1)
  else:
    worth = tree.node_visits if by == "visits" else tree.qvalues
    best = jax.vmap(_descend)(tree.root, tree.parents, complete, _ranked(worth))
  found = jnp.any(complete, axis=1)
  return jnp.where(found, best, tree_lib.Tree.NO_NODE).astype(jnp.int32)


def _ranked(worth: Array) -> Float[Array, "B N"]:
  """Returns numbers to compare by: what is not a number comes last."""
  least = jnp.finfo(jnp.float32).min
  worth = worth.astype(jnp.float32)
  return jnp.nan_to_num(worth, nan=least, neginf=least)


def _descend(
  root: Int[Array, ""],
  parents: Int[Array, " N"],
  complete: Bool[Array, " N"],
  worth: Float[Array, " N"],
) -> Int[Array, ""]:
  """Walks to a complete solution by the best child each time; _unbatched_."""
  capacity = parents.shape[0]

  def up(carry):
    leads, _ = carry
    above = jnp.where(leads & (parents >= 0), parents, capacity)
    raised = leads.at[above].set(True, mode="drop")
    return raised, jnp.any(raised != leads)

  leads, _ = jax.lax.while_loop(
    lambda carry: carry[1], up, (complete, jnp.asarray(True))
  )
  offered = lambda node: leads & (parents == node)
  return jax.lax.while_loop(
    lambda node: jnp.any(offered(node)),
    lambda node: jnp.argmax(jnp.where(offered(node), worth, -jnp.inf)).astype(
      jnp.int32
    ),
    root,
  )


@dataclasses.dataclass(frozen=True)
class Solution:
  """One complete solution in a tree.

  Attributes:
    nodes: Its thoughts' nodes, from below the root to the terminal one.
    tokens: Its token ids, the end token included.
    thought_end: Index into `tokens` of the last token of each thought.
    thought_rewards: PRM score of each thought.
    policy_logprobs: Log-probability of each token under the policy.
    behavior_logprobs: Under the distribution sampled.
    visits: Visits of each thought's node.
    values: Mean backed-up value of each thought's node.
  """

  nodes: tuple[int, ...]
  tokens: tuple[int, ...]
  thought_end: tuple[int, ...]
  thought_rewards: tuple[float, ...]
  policy_logprobs: tuple[float, ...]
  behavior_logprobs: tuple[float, ...]
  visits: tuple[int, ...]
  values: tuple[float, ...]


def to_host(tree: tree_lib.Tree) -> tree_lib.Tree:
  """Returns the trees as NumPy arrays, without keys, values and hiddens."""
  slim = tree.replace(
    pools=(),
    prompts=(),
    prm_carry=(),
    hidden=tree.hidden[..., :0],
    free_slots=(),
    slots=tree.slots[..., :0],
  )
  return jax.tree.map(np.asarray, slim)


def path_to(tree: tree_lib.Tree, row: int, node: int) -> tuple[int, ...]:
  """Returns the nodes from below the root to `node` in problem `row`."""
  path = []
  while node > tree_lib.Tree.ROOT_INDEX:
    path.append(node)
    node = int(tree.parents[row, node])
  return tuple(reversed(path))


def solutions(tree: tree_lib.Tree, row: int) -> list[Solution]:
  """Returns the complete solutions of problem `row`, in the order found.

  Args:
    tree: From `to_host`.
    row: The problem.
  """
  is_solution = tree.terminal_mask[row] & tree.valid_mask[row]
  found = np.flatnonzero(is_solution).tolist()
  return [_solution(tree, row, path_to(tree, row, node)) for node in found]


def _solution(tree, row, path) -> Solution:
  nodes = list(path)
  lengths = tree.lengths[row, nodes]
  real = np.arange(tree.tokens.shape[-1])[None] < lengths[:, None]
  flat = lambda field: tuple(field[row, nodes][real].tolist())
  per_node = lambda field: tuple(field[row, nodes].tolist())
  return Solution(
    nodes=path,
    tokens=flat(tree.tokens),
    thought_end=tuple((np.cumsum(lengths) - 1).tolist()),
    thought_rewards=per_node(tree.thought_rewards),
    policy_logprobs=flat(tree.policy_logprobs),
    behavior_logprobs=flat(tree.behavior_logprobs),
    visits=per_node(tree.node_visits),
    values=per_node(tree.node_values),
  )


def trajectories(
  tree: tree_lib.Tree,
  prompt: Int[np.ndarray, "B Lp"],
  verify: Callable[[int, Solution], float],
  completion_size: int,
  thought_size: int,
) -> types.Trajectory:
  """Returns every complete solution of a search as a row, problem by problem.

  A row's `thought_values` are its nodes' `qvalues`, see `SearchTargets`: what
  the final thought was paid would be lost in its own value, which is 0. Labels
  are none.

  Args:
    tree: From `to_host`.
    prompt: Prompt token ids of each problem, right-padded.
    verify: What the verifier pays for a solution of problem `row`, as
      `verify(row, solution)`, 1 right and 0 wrong.
    completion_size: Positions of a completion, at least the longest.
    thought_size: Thoughts of a trajectory, likewise.
  """
  found = [
    (row, solution)
    for row in range(len(prompt))
    for solution in solutions(tree, row)
  ]
  rows = np.array([row for row, _ in found], np.int32)
  each = [solution for _, solution in found]
  qvalues = [tree.qvalues[row, list(s.nodes)] for row, s in found]
  tokens = lambda name, dtype: _padded(
    [getattr(s, name) for s in each], completion_size, dtype, "tokens"
  )
  thoughts = lambda values, dtype: _padded(
    values, thought_size, dtype, "thoughts"
  )
  no_labels = np.zeros((len(found), thought_size), np.float32)
  return types.Trajectory(
    problem_id=tree.problem_id[rows].astype(np.int32),
    prompt=prompt[rows].astype(np.int32),
    prompt_length=tree.prompt_length[rows].astype(np.int32),
    completion=tokens("tokens", np.int32),
    completion_length=np.array([len(s.tokens) for s in each], np.int32),
    thought_end=thoughts([s.thought_end for s in each], np.int32),
    thought_count=np.array([len(s.nodes) for s in each], np.int32),
    behavior_logprobs=tokens("behavior_logprobs", np.float32),
    policy_logprobs=tokens("policy_logprobs", np.float32),
    forced_mask=np.zeros((len(found), completion_size), bool),
    outcome_reward=np.array([verify(*one) for one in found], np.float32),
    labels=no_labels,
    label_mask=np.zeros(no_labels.shape, bool),
    thought_rewards=thoughts([s.thought_rewards for s in each], np.float32),
    thought_visits=thoughts([s.visits for s in each], np.int32),
    thought_values=thoughts(qvalues, np.float32),
  )


def _padded(values, size: int, dtype: type, what: str) -> np.ndarray:
  """Returns rows of different lengths as one array, padded with zeros."""
  padded = np.zeros((len(values), size), dtype)
  for row, value in enumerate(values):
    if len(value) > size:
      raise ValueError(
        f"A solution has {len(value)} {what} and only {size} fit: ask for as"
        " many positions."
      )
    padded[row, : len(value)] = value
  return padded
