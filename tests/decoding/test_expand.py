"""Expansion: the tree as KV cache against full forward passes, and its rules.

Every thought of a searched tree is read again as prompt and path in one plain
pass: what the tree stored must be what that pass says.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import pool as pool_lib
from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import expand, rollouts, sampling
from reasoning_rl.search import frontier, mcts

T, C, END, THOUGHT_END = 3, 6, 1, 3
BOUNDARY = boundaries.single(THOUGHT_END)
IDS = jnp.array([4, 0, 7, 2])
FRONTIER = frontier.FrontierConfig(width=3, num_candidates=2)
NARROW = frontier.FrontierConfig(width=1)
MCTS = mcts.MCTSConfig(num_candidates=3, leaves_per_pass=2)
TOLERANCE = dict(rtol=1e-4, atol=1e-4)


class Case(NamedTuple):
  """A policy, what scores its thoughts, and the tree that they searched."""

  policy: Any
  scorer: Any
  tree: tree_lib.Tree
  draw: str


def expand_config(num_candidates, draw="merged", settings=None):
  settings = settings or sampling.SamplingConfig()
  return expand.ExpandConfig(
    num_candidates, T, C, BOUNDARY, (END,), settings, draw
  )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _search(policy, prm, rule, config, size, params, tokens, lengths, ids):
  root = expand.make_root(policy, prm, params, tokens, lengths, ids)
  expand_fn = expand.make_expand_fn(policy, prm, config)
  passes = 4 if rule is MCTS else T
  nodes = rule.capacity(passes)
  # A size makes it a pool of that size that is used again.
  tree = tree_lib.plant(root, nodes, C, size or nodes * C, reuse=size > 0)
  rng = jax.random.key(1)
  if rule is MCTS:
    return mcts.run(params, rng, tree, expand_fn, rule, passes)
  state = frontier.start(tree, rule)
  return frontier.run(params, rng, state, expand_fn, rule, passes).tree


def search(policy, prm, rule, config, prompts, ids=IDS, size=0):
  params = expand.SearchParams(policy.params, prm and prm.params)
  tree = _search(
    policy.network,
    prm and prm.network,
    rule,
    config,
    size,
    params,
    *prompts,
    ids,
  )
  return jax.tree.map(np.asarray, tree)


def nodes_of(tree):
  """Yields the problem and the node of every thought."""
  for problem, node in zip(*np.nonzero(tree.valid_mask), strict=True):
    if node != tree_lib.Tree.ROOT_INDEX:
      yield problem, node


def tokens_of(tree, problem, node):
  return list(tree.tokens[problem, node, : tree.lengths[problem, node]])


def before(tree, prompts, problem, node):
  """Returns all that stands before a thought: its prompt and its ancestors."""
  row, parent = [], tree.parents[problem, node]
  while parent != tree_lib.Tree.ROOT_INDEX:
    row = tokens_of(tree, problem, parent) + row
    parent = tree.parents[problem, parent]
  return [*prompts[0][problem, : prompts[1][problem]], *row]


@pytest.fixture(
  scope="module",
  params=[
    ("frontier", "learned", "separate", "merged"),
    ("frontier", "rope", "shared", "independent"),
    ("frontier", "rope", "separate", "distinct"),
    ("mcts", "rope", "separate", "merged"),
    ("mcts", "learned", "shared", "distinct"),
    ("mcts", "rope", "certainty", "distinct"),
    ("frontier", "learned", "implicit", "distinct"),
    ("mcts", "rope", "implicit", "merged"),
    ("frontier", "sliding", "separate", "distinct"),
    ("mcts", "sliding", "implicit", "distinct"),
  ],
  ids="-".join,
)
def case(request, make_tiny, prompts):
  name, kind, prm_kind, draw = request.param
  rule = MCTS if name == "mcts" else FRONTIER
  more = "certainty" if prm_kind == "certainty" else "outcome"
  seed = 2 if prm_kind == "certainty" else 0  # Whose thoughts grow a tree.
  policy = make_tiny(kind, ("language", "thought", more), seed)
  prm = None
  if prm_kind == "separate":
    prm = make_tiny(kind, ("thought",), 1)
  elif prm_kind == "implicit":
    prm = make_tiny(kind, ("language", "implicit"), 1)
  config = expand_config(rule.num_candidates, draw)
  tree = search(policy, prm, rule, config, prompts)
  return Case(policy, prm or policy, tree, draw)


def scores_of(scorer, prompts, tree, nodes, prefixes, thoughts):
  """Returns what a plain pass scores: the end, or all since the prompt."""
  if scorer.network.config.certainty:
    # An end token alone belongs to the thought before it.
    joins = [
      tree.lengths[p, tree.parents[p, n]] * (tokens_of(tree, p, n) == [END])
      for p, n in nodes
    ]
    assert any(joins)
    cuts = [len(p) - j for p, j in zip(prefixes, joins, strict=True)]
    whole = zip(prefixes, thoughts, cuts, strict=True)
    pairs = [(p[:cut], p[cut:] + t) for p, t, cut in whole]
    return scorer.certain_scores(*zip(*pairs, strict=True))
  whole = [p + t for p, t in zip(prefixes, thoughts, strict=True)]
  if "implicit" not in scorer.network.config.heads:
    return scorer.scores(whole)
  starts = [prompts[1][problem] for problem, _ in nodes]
  pairs = list(zip(whole, starts, strict=True))
  return scorer.implicit_scores(
    [row[:start] for row, start in pairs], [row[start:] for row, start in pairs]
  )


def test_every_node_is_what_a_full_forward_pass_says(case, prompts):
  policy, scorer, tree, _ = case
  nodes = list(nodes_of(tree))
  prefixes = [before(tree, prompts, *at) for at in nodes]
  thoughts = [tokens_of(tree, *at) for at in nodes]
  whole = [p + t for p, t in zip(prefixes, thoughts, strict=True)]
  logprobs = policy.logprobs(prefixes, thoughts)
  hidden = policy.hidden(whole)
  scores = scores_of(scorer, prompts, tree, nodes, prefixes, thoughts)
  for index, at in enumerate(nodes):
    length = len(thoughts[index])
    stored = tree.policy_logprobs[at]
    np.testing.assert_allclose(stored[:length], logprobs[index], **TOLERANCE)
    assert not stored[length:].any()
    np.testing.assert_allclose(
      tree.thought_rewards[at], scores[index], **TOLERANCE
    )
    np.testing.assert_allclose(tree.hidden[at], hidden[index][-1], **TOLERANCE)
  # There was something to get wrong: deep thoughts, of many lengths.
  depths = [tree.depth[at] for at in nodes]
  assert depths.count(2) >= 4 and depths.count(3) >= 2
  assert len({len(t) for t in thoughts}) > 3
  assert np.std(scores) > 0.02


def test_a_beam_in_a_pool_that_is_used_again_writes_the_same(case, prompts):
  if len(case.tree.parents[0]) == MCTS.capacity(4):
    pytest.skip("tree searches prune nothing")
  policy, scorer, tree, draw = case
  prm = None if scorer is policy else scorer
  size = pool_lib.frontier_slots(3, 2, T, C, reuse=True)
  config = expand_config(2, draw)
  reused = search(policy, prm, FRONTIER, config, prompts, size=size)
  for name in ("valid_mask", "parents", "tokens", "lengths", "policy_tokens"):
    one, two = getattr(reused, name), getattr(tree, name)
    np.testing.assert_array_equal(one, two, err_msg=name)
  for name in ("thought_rewards", "policy_logprobs", "hidden", "raw_values"):
    one, two = getattr(reused, name), getattr(tree, name)
    np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6, err_msg=name)
  # Slots were used twice, and read by the thoughts after that.
  asked = tree.lengths.sum(axis=1)
  assert (reused.pool_peak < asked).any() and (reused.pool_peak <= size).all()


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _grow(policy, prm, config, params, rng, tree, leaf, root):
  tree = pool_lib.reroot(tree, root)
  expand_fn = expand.make_expand_fn(policy, prm, config)
  children = expand_fn(params, rng, tree, leaf)
  return tree_lib.add_children(tree, leaf, children)


def _next_root_and_leaves(tree, step):
  """Returns where each problem's root moves, and which leaves it expands.

  Two thoughts of the first level are expanded, then one of them is made the
  root and a child of it expanded, then another of its children is both.
  """
  moves, leaves = np.full(4, -1, np.int32), np.full((4, 2), -1, np.int32)
  for row in range(4):
    depth, above = tree.depth[row], tree.parents[row]
    closed = ~tree.open_mask[row] | ~tree.held_mask[row]
    fresh = np.flatnonzero(~closed & (tree.children_start[row] < 0))
    if step == 0:
      leaves[row, 0] = 0
    elif step == 1:
      first = fresh[depth[fresh] == 1][:2]
      leaves[row, : len(first)] = first
    else:
      second = fresh[depth[fresh] == 2]
      if len(second) == 0 or (row == 0 and step == 2):
        continue
      leaves[row, 0] = second[-1]
      moves[row] = above[second[-1]] if step == 2 else second[-1]
  return moves, leaves


@pytest.mark.parametrize("kind", ["rope", "learned"])
def test_what_follows_a_new_root_is_what_a_full_forward_pass_says(
  kind, make_tiny, prompts
):
  policy = make_tiny(kind, ("language", "thought", "outcome"), 0)
  prm = make_tiny(kind, ("thought",), 1)
  params = expand.SearchParams(policy.params, prm.params)
  networks = policy.network, prm.network
  root = expand.make_root(*networks, params, *prompts, IDS)
  tree = tree_lib.plant(root, 1 + 4 * 2 * 5, C, 16 * C, reuse=True)
  rng, roots = jax.random.key(1), []
  for step in range(4):
    moves, leaf = _next_root_and_leaves(jax.device_get(tree), step)
    tree = _grow(*networks, expand_config(5), params, rng, tree, leaf, moves)
    roots.append(np.asarray(tree.root))
  host = jax.device_get(tree)
  nodes = list(nodes_of(host))
  prefixes = [before(host, prompts, *at) for at in nodes]
  thoughts = [tokens_of(host, *at) for at in nodes]
  whole = [p + t for p, t in zip(prefixes, thoughts, strict=True)]
  logprobs, scores = policy.logprobs(prefixes, thoughts), prm.scores(whole)
  for index, at in enumerate(nodes):
    stored = host.policy_logprobs[at][: len(thoughts[index])]
    np.testing.assert_allclose(stored, logprobs[index], **TOLERANCE)
    np.testing.assert_allclose(
      host.thought_rewards[at], scores[index], **TOLERANCE
    )
  # Roots moved at different times, some twice; below them thoughts were added,
  # in slots that had been given back.
  assert {len(set(column)) for column in np.stack(roots).T} >= {2, 3}
  assert any(host.depth[at] == T for at in nodes)
  assert (host.lengths.sum(axis=1) > host.pool_peak).any()


def test_what_may_follow_a_thought_is_how_it_ended(case):
  kinds = set()
  for at in nodes_of(case.tree):
    last, score = tokens_of(case.tree, *at)[-1], case.tree.thought_rewards[at]
    terminal = last == END
    is_open = last == THOUGHT_END and case.tree.depth[at] < T
    assert case.tree.terminal_mask[at] == terminal
    assert case.tree.open_mask[at] == is_open
    # Paid once: on entering what is complete, else estimated as what follows.
    assert case.tree.rewards[at] == (score if terminal else 0)
    assert case.tree.raw_values[at] == (score if is_open else 0)
    assert case.tree.discounts[at] == is_open
    if last not in (END, THOUGHT_END):
      assert case.tree.lengths[at] == C
      kinds.add("dead")
    kinds.add("terminal" if terminal else "open" if is_open else "closed")
  assert kinds == {"terminal", "open", "closed", "dead"}


def test_dead_thoughts_are_never_expanded(case):
  parents = {(at[0], case.tree.parents[at]) for at in nodes_of(case.tree)}
  for at in parents:
    assert case.tree.open_mask[at]


def test_siblings_are_equal_only_where_samples_are_independent(case):
  tree, equal, seen = case.tree, 0, set()
  for problem, node in nodes_of(tree):
    parent = tree.parents[problem, node]
    thought = (problem, parent, *tokens_of(tree, problem, node))
    equal += thought in seen
    seen.add(thought)
  assert bool(equal) == (case.draw == "independent")
  priors = np.array([tree.prior_logits[at] for at in nodes_of(tree)])
  if case.draw == "distinct":
    likely = [tree.behavior_logprobs[at].sum() for at in nodes_of(tree)]
    np.testing.assert_allclose(priors, likely, rtol=1e-5, atol=1e-6)
  else:
    assert priors.any() == (case.draw == "merged")


def test_a_search_begins_with_as_many_different_thoughts_as_rows(case):
  first = np.sum(case.tree.valid_mask & (case.tree.depth == 1), axis=1)
  rule = MCTS if len(case.tree.parents[0]) == MCTS.capacity(4) else FRONTIER
  rows = rule.num_candidates * (1 if rule is MCTS else rule.width)
  assert (first <= rows).all()
  if case.draw == "distinct":
    # However many places the root has in the frontier.
    assert (first == rows).all()
  elif case.draw == "merged":
    assert (first < rows).any()


def test_an_unknown_way_to_draw_is_refused():
  with pytest.raises(ValueError, match="draw is 'different'; use one of"):
    expand_config(2, "different")


@pytest.fixture(scope="module")
def narrow_greedy(tiny, prompts):
  config = expand_config(1, settings=sampling.GREEDY)
  return search(tiny, None, NARROW, config, prompts)


@functools.partial(jax.jit, static_argnums=0)
def _greedy_rollouts(network, params, tokens, lengths):
  config = rollouts.RolloutConfig(
    1, T * C, C, BOUNDARY, (END,), sampling.GREEDY
  )
  return rollouts.from_prompts(
    network, params, jax.random.key(1), tokens, lengths, IDS, config
  )


def test_a_greedy_beam_of_width_one_is_greedy_decoding(
  tiny, prompts, narrow_greedy
):
  tree = narrow_greedy
  out = _greedy_rollouts(tiny.network, tiny.params, *prompts)
  compared = 0
  for problem in range(4):
    chain = np.flatnonzero(tree.valid_mask[problem])
    np.testing.assert_array_equal(tree.depth[problem, chain], range(len(chain)))
    said = sum((tokens_of(tree, problem, node) for node in chain[1:]), [])
    length = int(out.length[problem])
    if len(chain) - 1 < T:
      assert len(said) == length
    np.testing.assert_array_equal(said, out.tokens[problem, : len(said)])
    compared += len(said)
  assert compared > 12


class Expansion(NamedTuple):
  """One expansion of the root, twice over in every problem."""

  leaf: np.ndarray
  children: tree_lib.Children


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _expand(policy, prm, config, params, tokens, lengths, ids, leaf):
  root = expand.make_root(policy, prm, params, tokens, lengths, ids)
  tree = tree_lib.plant(root, 20, C, 20 * C)
  expand_fn = expand.make_expand_fn(policy, prm, config)
  return expand_fn(params, jax.random.key(0), tree, leaf)


def expansion(tiny, prm, prompts, leaf, ids=IDS) -> Expansion:
  # Two tokens to choose from, so that some thoughts are equal.
  settings = sampling.SamplingConfig(top_k=2)
  params = expand.SearchParams(tiny.params, prm.params)
  children = _expand(
    tiny.network,
    prm.network,
    expand_config(8, settings=settings),
    params,
    *prompts,
    ids,
    leaf,
  )
  return Expansion(leaf, jax.tree.map(np.asarray, children))


@pytest.fixture(scope="module", params=["head", "implicit"])
def prm(request, make_tiny):
  if request.param == "implicit":
    return make_tiny("learned", ("language", "implicit"), 1)
  return make_tiny("learned", ("thought",), 1)


@pytest.fixture(scope="module")
def merged(tiny, prm, prompts):
  # The last problem expands one leaf, the one before it none.
  leaf = np.array([[0, 0], [0, 0], [-1, -1], [-1, 0]], np.int32)
  return expansion(tiny, prm, prompts, leaf)


def test_repeated_thoughts_become_their_first_with_their_count_as_prior(merged):
  leaf, children = merged
  repeated = 0
  for problem in range(4):
    seen: dict[tuple, list] = {}
    for slot, candidate in np.ndindex(2, 8):
      at = problem, slot, candidate
      if leaf[problem, slot] < 0:
        assert not children.valid_mask[at] and not children.lengths[at]
        continue
      thought = tuple(children.tokens[at][: children.lengths[at]])
      seen.setdefault(thought, []).append(at)
    for places in seen.values():
      assert children.valid_mask[places[0]]
      assert not any(children.valid_mask[at] for at in places[1:])
      np.testing.assert_allclose(
        children.prior_logits[places[0]], np.log(len(places)), atol=1e-6
      )
      repeated += len(places) > 1
  assert repeated > 3


def test_merging_compares_parents_and_lengths_and_not_padding_alone():
  # Token 0 is a real token too: [0] and [0, 0] differ in length only.
  tokens = jnp.array([[[[5, 0], [0, 0], [5, 0]], [[0, 0], [5, 0], [0, 0]]]])
  lengths = jnp.array([[[1, 1, 1], [2, 1, 0]]])
  merge = jax.jit(expand._merge)
  valid, prior = merge(jnp.array([[2, 2]]), tokens, lengths)
  np.testing.assert_array_equal(valid, [[[1, 1, 0], [1, 0, 0]]])
  np.testing.assert_allclose(
    np.asarray(prior)[valid], np.log([3, 1, 1]), atol=1e-6
  )
  valid, prior = merge(jnp.array([[2, 4]]), tokens, lengths)
  np.testing.assert_array_equal(valid, [[[1, 1, 0], [1, 1, 0]]])
  np.testing.assert_allclose(
    np.asarray(prior)[valid], np.log([2, 1, 1, 1]), atol=1e-6
  )


def test_every_decoded_token_is_counted_repetitions_included(merged):
  _, children = merged
  total = children.lengths.sum(axis=(1, 2))
  np.testing.assert_array_equal(children.policy_tokens, total)
  np.testing.assert_array_equal(children.prm_tokens, total)
  stored = np.where(children.valid_mask, children.lengths, 0).sum(axis=(1, 2))
  assert (stored[:2] < total[:2]).all() and total[2] == 0


def test_a_head_on_the_policys_trunk_reads_no_tokens_of_its_own(
  narrow_greedy,
):
  lengths = np.where(narrow_greedy.valid_mask, narrow_greedy.lengths, 0)
  np.testing.assert_array_equal(
    narrow_greedy.policy_tokens, lengths.sum(axis=1)
  )
  np.testing.assert_array_equal(narrow_greedy.pool_used, lengths.sum(axis=1))
  assert not narrow_greedy.prm_tokens.any()


def test_a_problems_children_do_not_depend_on_the_other_problems(
  tiny, prm, prompts, merged
):
  tokens, lengths = prompts
  other = np.array([True, False, True, True])
  changed = (
    np.where(other[:, None], (tokens + 5) % 12, tokens),
    np.where(other, 7 - lengths, lengths).clip(1, 6),
  )
  leaf = np.array([[-1, 0], [0, 0], [0, 0], [-1, -1]], np.int32)
  ids = jnp.where(other, IDS + 1, IDS)
  _, children = expansion(tiny, prm, changed, leaf, ids)
  jax.tree.map(
    lambda x, y: np.testing.assert_array_equal(x[1], y[1]),
    children,
    merged.children,
  )


def test_thoughts_without_a_finite_score_are_dropped_but_counted(
  tiny, prm, prompts, merged
):
  broken = jax.tree.map(lambda x: x * np.nan, prm.params)
  broken = type(prm)(prm.network, broken)
  _, children = expansion(tiny, broken, prompts, merged.leaf)
  assert not children.valid_mask.any()
  np.testing.assert_array_equal(children.tokens, merged.children.tokens)
  np.testing.assert_array_equal(
    children.policy_tokens, merged.children.policy_tokens
  )
