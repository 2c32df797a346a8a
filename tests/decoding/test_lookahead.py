"""Lookahead with networks: greedy by plain passes, and pools left intact."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import tree as tree_lib
from reasoning_rl.data import boundaries
from reasoning_rl.decoding import expand, sampling
from reasoning_rl.search import frontier

T, C, END, THOUGHT_END, K = 4, 5, 1, 3, 2
IDS = jnp.array([4, 0, 7, 2])
RULE = frontier.FrontierConfig(width=2, num_candidates=3, lookahead=K)


def _search_fn(policy, prm, rule, params, tokens, lengths, passes):
  root = expand.make_root(policy, prm, params, tokens, lengths, IDS)
  config = functools.partial(
    expand.ExpandConfig,
    max_thoughts=T,
    max_thought_tokens=C,
    boundary=boundaries.single(THOUGHT_END),
    end_ids=(END,),
  )
  nodes = rule.capacity(T)
  tree = tree_lib.plant(root, nodes, C, (nodes - 1) * C)
  return frontier.run(
    params,
    jax.random.key(1),
    frontier.start(tree, rule),
    expand.make_expand_fn(policy, prm, config(rule.num_candidates)),
    rule,
    passes,
    rollout_fn=expand.make_expand_fn(
      policy,
      prm,
      config(1, sampling=sampling.GREEDY, draw="independent"),
    ),
  )


_search = jax.jit(_search_fn, static_argnums=(0, 1, 2))


@pytest.fixture(scope="module")
def networks(make_tiny):
  policy = make_tiny("learned", ("language",), 0)
  return policy, make_tiny("learned", ("thought",), 1)


def search(networks, prompts, passes):
  policy, prm = networks
  params = expand.SearchParams(policy.params, prm.params)
  state = _search(policy.network, prm.network, RULE, params, *prompts, passes)
  return jax.device_get(state)


def row_of(tree, prompts, problem, node):
  """Returns the tokens from the prompt's first to the thought's last."""
  row = []
  while node != tree_lib.Tree.ROOT_INDEX:
    length = tree.lengths[problem, node]
    row = [*tree.tokens[problem, node, :length], *row]
    node = tree.parents[problem, node]
  return [*prompts[0][problem, : prompts[1][problem]], *row]


def thoughts(tree, problem):
  return np.flatnonzero(tree.valid_mask[problem])[1:]


def greedy_thought(policy, row):
  """Returns the row and its likeliest next thought, by whole passes."""
  for _ in range(C):
    token = int(np.argmax(policy.logits([row])[0][-1]))
    row = [*row, token]
    if token in (END, THOUGHT_END):
      break
  return row


def test_the_frontier_is_what_scores_best_after_greedy_thoughts(
  networks, prompts
):
  policy, prm = networks
  state, compared = search(networks, prompts, 1), 0
  tree = state.tree
  for problem in range(4):
    scores = {}
    for node in thoughts(tree, problem):
      row = row_of(tree, prompts, problem, node)
      goes_on = tree.open_mask[problem, node]
      if not goes_on and not tree.terminal_mask[problem, node]:
        continue
      for _ in range(K if goes_on else 0):
        row = greedy_thought(policy, row)
        compared += 1
        if row[-1] != THOUGHT_END:
          break
      scores[int(node)] = prm.scores([row])[0]
    best = sorted(scores, key=lambda node: -scores[node])[:2]
    found = state.nodes[problem][state.nodes[problem] >= 0]
    assert found.tolist() == best
  assert compared > 12


def test_pools_are_intact_after_rollouts(networks, prompts):
  _, prm = networks
  tree = search(networks, prompts, T).tree
  rows, scores = [], []
  for problem in range(4):
    for node in thoughts(tree, problem):
      rows.append(row_of(tree, prompts, problem, node))
      scores.append(tree.thought_rewards[problem, node])
  np.testing.assert_allclose(prm.scores(rows), scores, rtol=1e-4, atol=1e-4)
  lengths = np.where(tree.valid_mask, tree.lengths, 0).sum(axis=1)
  np.testing.assert_array_equal(tree.pool_used, lengths)
  assert np.all(tree.policy_tokens > lengths)
  assert tree.depth.max() > 2 and len(rows) > 40


def test_rolling_back_copies_no_pool(networks, prompts):
  policy, prm = networks
  params = expand.SearchParams(policy.params, prm.params)

  def copies(k):
    rule = frontier.FrontierConfig(2, 3, lookahead=k)
    program = _search.lower(
      policy.network, prm.network, rule, params, *prompts, 1
    ).compile()
    slots = (rule.capacity(T) - 1) * C
    pool = rf"= f32\[4,{slots},1,8\]\S* copy\("
    return len(re.findall(pool, program.as_text()))

  assert copies(K) == copies(0)
