"""What a finished search found: its complete solutions, on the host."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from reasoning_rl import tree as tree_lib


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
