"""MCTS as one would first write it: Python objects, one problem at a time.

It is the search of `reasoning_rl.search.mcts` without the engine: the tree is
made of Python objects, selection and backup are Python arithmetic, and a jitted
call decodes and scores one new node. It is no straw man: a node keeps the keys
and values of its whole path, so no prefix is ever read twice, and all that
belongs to a node happens in its one call. Random numbers are derived as in
`decoding.expand`, so both searches build the same trees.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from reasoning_rl import tree as tree_lib
from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import expand, thought_scores
from reasoning_rl.decoding import stops as stops_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib
from reasoning_rl.search import mcts

Path = tuple[tuple[int, ...], ...]


class NodeCache(NamedTuple):
  """What decoding continues from, for the nodes that one call made.

  Attributes:
    paths: Per network, keys and values [R, J, M, K] of the thoughts from below
      the root to the node. The prompt's are kept once per problem.
    size: Tokens on the path.
    hidden: Trunk output at the last token.
    prm_carry: What the PRM goes on from.
  """

  paths: tuple[attention_lib.KeysValues, ...]
  size: Int[Array, " R"]
  hidden: Float[Array, "R D"]
  prm_carry: Any


class Said(NamedTuple):
  """What Python needs to know of the nodes that one call made."""

  tokens: Int[Array, "R C"]
  length: Int[Array, " R"]
  stopped: Bool[Array, " R"]
  score: Float[Array, " R"]


@dataclasses.dataclass(eq=False)
class Node:
  """A thought in the tree.

  Attributes:
    cache: Of the call that made the node; `row` is the node's own.
    row: See `cache`.
    tokens: The thought.
    depth: Thoughts from the root.
    is_open: Whether a further thought may follow.
    reward: Paid on entering the node.
    value: Estimated return from the node on.
    count: Siblings, itself included, that said the same.
    visits: Simulations through the node.
    total: Sum of their returns.
    spent: Tokens decoded for the whole tree, of a root.
    children: Distinct thoughts that follow.
  """

  cache: NodeCache
  row: int = 0
  tokens: tuple[int, ...] = ()
  depth: int = 0
  is_open: bool = True
  reward: float = 0.0
  value: float = 0.0
  count: int = 1
  visits: int = 0
  total: float = 0.0
  spent: int = 0
  children: list[Node] = dataclasses.field(default_factory=list)

  def mean(self) -> float:
    """Returns the mean return; before any visit, the estimate."""
    return self.total / self.visits if self.visits else self.value


class PythonSearch:
  """Searches problems one after the other."""

  def __init__(
    self,
    policy: network_lib.Network,
    prm: network_lib.Network,
    expand_config: expand.ExpandConfig,
    config: mcts.MCTSConfig,
    nodes_per_call: int = 1,
  ):
    """Prepares the two jitted calls.

    Args:
      policy: The network that writes thoughts.
      prm: The network that scores them.
      expand_config: How a node is expanded; thoughts are made one by one, so
        `draw` must be "merged".
      config: The rules; one leaf per pass, values of kind "score".
      nodes_per_call: Siblings that one call makes; divides the candidates.
    """
    if expand_config.draw != "merged":
      raise ValueError(
        "the Python loop merges independent samples: set draw to 'merged'."
      )
    if config.leaves_per_pass != 1 or config.rule.value_kind != "score":
      raise ValueError(
        "the Python loop knows leaves_per_pass = 1 and value_kind = 'score'"
        " only; use these."
      )
    self._expand_config = expand_config
    self._config = config
    self._nodes_per_call = nodes_per_call
    self._read_prompt = _make_prompt_fn(policy, prm, expand_config)
    self._make_nodes = _make_node_fn(policy, prm, expand_config, nodes_per_call)

  def run(
    self,
    params: expand.SearchParams,
    rng: Key[Array, ""],
    prompt: Int[np.ndarray, "B Lp"],
    prompt_length: Int[np.ndarray, " B"],
    problem_id: Int[np.ndarray, " B"],
    num_passes: int,
  ) -> list[Node]:
    """Returns the root of every problem's tree after `num_passes` passes."""
    roots = []
    for row in range(len(prompt)):
      problem = slice(row, row + 1)
      arguments = prompt[problem], prompt_length[problem], problem_id[problem]
      source, cache = self._read_prompt(params, *arguments)
      root = Node(cache, value=0.5)
      for _ in range(num_passes):
        self._one_pass(params, rng, source, root)
      roots.append(root)
    return roots

  def _one_pass(self, params, rng, source, root):
    """Simulates, expands and backs up."""
    path = [root]
    while path[-1].children:
      path.append(self._select(path[-1]))
    leaf = path[-1]
    if leaf.is_open:
      leaf.children = self._expand(params, rng, source, leaf, root)
    returns = leaf.value
    for node in reversed(path):
      node.visits += 1
      node.total += returns
      returns = node.reward + (returns if node.is_open else 0.0)

  def _select(self, parent: Node) -> Node:
    """Returns the child of the largest Q + U (arXiv:1911.08265, appendix B)."""
    puct = self._config.rule
    weight = puct.pb_c_init + math.log(
      (parent.visits + puct.pb_c_base + 1) / puct.pb_c_base
    )
    weight *= math.sqrt(parent.visits) / self._config.num_candidates

    def score(child):
      q = child.reward + (child.mean() if child.is_open else 0.0)
      return q + weight * child.count / (child.visits + 1)

    return max(parent.children, key=score)

  def _expand(self, params, rng, source, leaf, root) -> list[Node]:
    """Makes the candidates of a leaf; equal ones become one child."""
    children: dict[tuple[int, ...], Node] = {}
    candidates = self._config.num_candidates
    # The engine numbers an expansion by the tokens decoded before it.
    expansion = np.int32(root.spent)
    for first in range(0, candidates, self._nodes_per_call):
      cache, said = self._make_nodes(
        params,
        rng,
        source,
        leaf.cache,
        np.int32(leaf.row),
        expansion,
        np.int32(first),
      )
      for child in self._nodes(cache, jax.device_get(said), leaf.depth + 1):
        root.spent += len(child.tokens)
        known = children.setdefault(child.tokens, child)
        known.count += known is not child
    return list(children.values())

  def _nodes(self, cache, said, depth) -> Iterator[Node]:
    """Yields the nodes of one call."""
    for row, length in enumerate(said.length):
      tokens = tuple(said.tokens[row, :length].tolist())
      score = float(said.score[row])
      is_end = tokens[-1] in self._expand_config.end_ids
      is_open = bool(said.stopped[row]) and not is_end
      is_open &= depth < self._expand_config.max_thoughts
      yield Node(
        cache,
        row,
        tokens,
        depth,
        is_open,
        reward=score if is_end else 0.0,
        value=score if is_open else 0.0,
      )


def _make_prompt_fn(policy, prm, config):
  """Returns the jitted call that reads a problem's prompt, once."""

  @jax.jit
  def read_prompt(params, prompt, prompt_length, problem_id):
    source = expand.make_root(
      policy, prm, params, prompt, prompt_length, problem_id
    )
    size = max(1, (config.max_thoughts - 1) * config.max_thought_tokens)
    empty = jax.tree.map(
      lambda x: jnp.zeros((*x.shape[:2], size, x.shape[3]), x.dtype),
      source.prompts,
    )
    size = jnp.zeros(1, jnp.int32)
    cache = NodeCache(empty, size, source.hidden, source.prm_carry)
    return source, cache

  return read_prompt


def _make_node_fn(policy, prm, config, rows):
  """Returns the jitted call that decodes and scores `rows` new nodes."""

  @jax.jit
  def make_nodes(params, rng, source, caches, row, expansion, first):
    cache = jax.tree.map(
      lambda x: jax.lax.dynamic_slice_in_dim(x, row, 1), caches
    )
    rng = jax.random.fold_in(rng, source.problem_id[0])
    rng = jax.random.fold_in(rng, expansion)
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    rngs = fold(rng, first + jnp.arange(rows))
    policy_segments, prm_segments = (
      _segments(prompt, path, source.prompt_length, cache.size)
      for prompt, path in zip(source.prompts, cache.paths, strict=True)
    )
    position = jnp.repeat(source.prompt_length + cache.size, rows)
    hidden, carry = jax.tree.map(
      lambda x: jnp.repeat(x, rows, axis=0), (cache.hidden, cache.prm_carry)
    )
    decoded = decode_lib.decode(
      policy,
      params.policy,
      rngs,
      decode_lib.Context(policy_segments, hidden, position),
      jnp.ones(rows, bool),
      config.sampling,
      max_tokens=config.max_thought_tokens,
      stops=stops_lib.Stops(config.end_ids, config.boundary, one_thought=True),
    )
    scored = thought_scores.read(
      prm, params.prm, carry, decoded, prm_segments, position
    )
    new = NodeCache(
      _append(cache, (decoded.keys_values, *scored.keys_values), rows),
      cache.size + decoded.length,
      decoded.hidden,
      scored.carry,
    )
    said = Said(
      decoded.tokens, decoded.length, decoded.stopped_mask, scored.score
    )
    return new, said

  return make_nodes


def _segments(prompt, path, prompt_length, size):
  """Returns the prompt and the path to a node as segments."""
  visible = jnp.arange(path.k[0].shape[2])[None] < size[:, None]
  return (
    decode_lib.prompt_segment(prompt, prompt_length),
    attention_lib.Segment(path, visible[:, None, None]),
  )


def _append(cache, keys_values, rows):
  """Returns the node's path with each new thought after it.

  A thought of the greatest depth may not fit; it is never continued.
  """

  def append(path, new):
    paths = jnp.repeat(path, rows, axis=0)
    at = (0, 0, cache.size[0], 0)
    return jax.lax.dynamic_update_slice(paths, new, at)

  return jax.tree.map(append, cache.paths, keys_values)


# What two searches found, in one form.


def visits_of_nodes(root: Node) -> dict[Path, int]:
  """Returns the visits of every node, which is named by its thoughts."""
  found: dict[Path, int] = {}
  waiting: list[tuple[Path, Node]] = [((), root)]
  while waiting:
    path, node = waiting.pop()
    found[path] = node.visits
    waiting += [((*path, child.tokens), child) for child in node.children]
  return found


def visits_of_trees(trees: tree_lib.Tree) -> list[dict[Path, int]]:
  """Returns the same of each problem's tree in `trees`."""
  fields = ("valid_mask", "parents", "tokens", "lengths", "node_visits")
  read: list[Any] = [np.asarray(getattr(trees, name)) for name in fields]
  found = []
  for valid, parents, tokens, lengths, visits in zip(*read, strict=True):
    paths: dict[int, Path] = {tree_lib.Tree.ROOT_INDEX: ()}
    # A node stands after its parent.
    for node in np.flatnonzero(valid)[1:].tolist():
      thought = tuple(tokens[node, : lengths[node]].tolist())
      paths[node] = (*paths[int(parents[node])], thought)
    found.append({path: int(visits[node]) for node, path in paths.items()})
  return found
