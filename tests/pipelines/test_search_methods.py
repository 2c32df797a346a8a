"""Every search by name: what it costs, and what it makes of bad input.

A method is compiled once; all tests ask that one program.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.decoding import expand
from reasoning_rl.pipelines import config_file, measure, search
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines.errors import ConfigError

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
BUDGET = 4
STRANGE = 9  # A token that no policy here ever says.
FORBIDDEN, CERTAIN = -100.0, 100.0


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory, quick_compilation):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  # What a token means to a network is then not what it says by it.
  config.network.tied_embedding = False
  config.search.prune_score = 0.0  # No thought is worth less.
  return experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))


@pytest.fixture(name="problems", scope="module")
def fixture_problems(experiment):
  return experiment.problems("validation", 0, 3)


class Case(NamedTuple):
  """A search, and the leaves' shape each time its program was traced."""

  searcher: search.Searcher
  traces: list


@pytest.fixture(name="case", scope="module", params=search.METHODS)
def fixture_case(request, experiment):
  searcher = search.Searcher(
    experiment, search.plan(experiment, request.param, BUDGET)
  )
  expand_fn, traces = searcher._expand_fn, []

  def counted(params, rng, tree, leaf):
    traces.append(leaf.shape)
    return expand_fn(params, rng, tree, leaf)

  searcher._expand_fn = counted
  return Case(searcher, traces)


def make_params(experiment, never=(), always=()):
  """Returns parameters whose policy never, or always, says some tokens."""
  policy, prm = (
    network.init(experiment.rng(index))
    for index, network in enumerate((experiment.policy, experiment.prm))
  )
  # The first number of the residual stream is large whatever has been said.
  embedding = policy["token_embedding"]["embedding"].at[:, 0].set(5.0)
  kernel = policy["language_head"]["kernel"].at[0].set(0.0)
  kernel = kernel.at[0, jnp.array([STRANGE, *never])].set(FORBIDDEN)
  for token in always:
    kernel = kernel.at[0, token].set(CERTAIN)
  policy |= {
    "token_embedding": {"embedding": embedding},
    "language_head": {"kernel": kernel},
  }
  return expand.SearchParams(policy, prm)


def searched(case, params, problems, budgets=()):
  rng = case.searcher.experiment.rng(2)
  return case.searcher.search(params, rng, problems, budgets)


def assert_same_rows(one, two, rows):
  """Asserts that two searches found the same in some rows, to the bit."""
  for field in dataclasses.fields(one.tree):
    x, y = getattr(one.tree, field.name), getattr(two.tree, field.name)
    if isinstance(x, np.ndarray) and field.name not in ("next_node", "slots"):
      size = min(x.shape[1], y.shape[1]) if x.ndim > 1 else None
      valid = slice(None)
      if size:
        x, y = x[rows, :size], y[rows, :size]
        valid = one.tree.valid_mask[rows]
      else:
        x, y = x[rows], y[rows]
      np.testing.assert_array_equal(x[valid], y[valid], err_msg=field.name)
  assert [one.solutions[row] for row in rows] == [
    two.solutions[row] for row in rows
  ]


def thoughts(found) -> np.ndarray:
  """Returns which nodes hold a thought."""
  return found.tree.valid_mask & (found.tree.lengths > 0)


def test_a_search_counts_every_token_and_scores_what_it_found(
  case, experiment, problems
):
  params, method = make_params(experiment), case.searcher.plan.method
  # Only a tree grows from one budget to the next.
  budgets = (25.0, 60.0) if method == "mcts" else ()
  found = searched(case, params, problems, budgets)
  assert len(found) == max(1, len(budgets))
  for one in found:
    tree = one.tree
    kept = np.where(tree.valid_mask, tree.lengths, 0).sum(axis=1)
    # A separate PRM reads every thought whole. The policy writes what distinct
    # ones have in common once.
    assert (one.prm_tokens >= kept).all()
    assert (one.policy_tokens > 0).all()
    if method == "independent":
      np.testing.assert_array_equal(one.prm_tokens, one.policy_tokens)
    else:
      assert (one.policy_tokens <= one.prm_tokens).all()
    assert (one.pool_bytes > 0).all()
    every = [solution for row in one.solutions for solution in row]
    scores = measure.solution_scores(every, "last")
    expected = [solution.thought_rewards[-1] for solution in every]
    np.testing.assert_allclose(scores, expected)
  assert (found[-1].policy_tokens >= found[0].policy_tokens).all()


def test_a_search_is_one_program_without_callbacks(case, experiment, problems):
  params, searcher = make_params(experiment), case.searcher
  searched(case, params, problems)
  before = len(case.traces)
  assert before
  others = experiment.problems("validation", 3, 3)
  searched(case, make_params(experiment, always=(1,)), others, (17.0,))
  assert len(case.traces) == before
  state = jax.eval_shape(
    functools.partial(searcher._plant, shared=0),
    params,
    problems.prompt,
    problems.prompt_length,
    problems.problem_id,
  )
  limits = np.zeros(len(problems), np.int32)
  program = searcher._run.trace(params, experiment.rng(2), state, limits).jaxpr
  assert not program.effects
  assert "while" in str(program) and "callback" not in str(program)


def test_no_budget_leaves_the_prompts_alone(case, experiment, problems):
  found = searched(case, make_params(experiment), problems, (0.0,))[0]
  np.testing.assert_array_equal(found.tree.valid_mask.sum(axis=1), 1)
  np.testing.assert_array_equal(found.tree.node_visits, 0)
  np.testing.assert_array_equal(found.policy_tokens, 0)
  np.testing.assert_array_equal(found.prm_tokens, 0)
  assert found.solutions == [[], [], []]


def test_a_policy_that_never_ends_a_thought_solves_nothing(
  case, experiment, problems
):
  tokenizer = experiment.tokenizer
  never = (tokenizer.end_id, tokenizer.thought_end_id)
  found = searched(case, make_params(experiment, never), problems)[0]
  # A thought that the limit cuts off cannot be gone on from, nor counted on.
  assert thoughts(found).sum(axis=1).min() >= 1
  assert np.all(found.tree.lengths[thoughts(found)] == experiment.thought_size)
  assert not np.any(found.tree.open_mask & thoughts(found))
  assert not found.tree.terminal_mask.any()
  assert found.solutions == [[], [], []]
  first = case.searcher.plan.width * case.searcher.plan.candidates
  assert found.policy_tokens.max() <= first * experiment.thought_size


def test_a_policy_that_never_ends_a_solution_goes_no_deeper_than_allowed(
  case, experiment, problems
):
  tokenizer = experiment.tokenizer
  params = make_params(
    experiment, (tokenizer.end_id,), (tokenizer.thought_end_id,)
  )
  found = searched(case, params, problems)[0]
  deepest = np.where(thoughts(found), found.tree.depth, 0).max(axis=1)
  np.testing.assert_array_equal(deepest, experiment.max_thoughts)
  at_the_limit = thoughts(found) & (found.tree.depth == experiment.max_thoughts)
  assert not found.tree.open_mask[at_the_limit].any()
  assert found.solutions == [[], [], []]


def test_all_candidates_complete_end_the_search(case, experiment, problems):
  params = make_params(experiment, always=(experiment.tokenizer.end_id,))
  found = searched(case, params, problems)[0]
  # The root's are complete, and what is complete is never expanded.
  assert np.all(found.tree.depth[thoughts(found)] == 1)
  assert np.all(found.tree.terminal_mask[thoughts(found)])
  assert np.all(found.tree.children_start[:, 1:] < 0)
  assert all(len(row) >= 1 for row in found.solutions)


def test_scores_that_are_all_equal_are_scores_too(case, experiment, problems):
  params = make_params(experiment)
  head = params.prm["implicit_head"]
  params.prm["implicit_head"] = head | {"scale": 0 * head["scale"]}
  found = searched(case, params, problems)[0]
  scores = found.tree.thought_rewards[thoughts(found)]
  np.testing.assert_array_equal(scores, scores[0])
  assert np.all(np.isfinite(found.tree.node_values[found.tree.valid_mask]))
  again = searched(case, params, problems)[0]
  assert_same_rows(found, again, [0, 1, 2])


def test_a_problem_whose_scores_are_no_numbers_poisons_no_other(
  case, experiment, problems
):
  params = make_params(experiment)
  embedding = params.prm["token_embedding"]["embedding"]
  params.prm["token_embedding"] = {
    "embedding": embedding.at[STRANGE].set(jnp.nan)
  }
  prompts = np.where(problems.prompt == STRANGE, STRANGE + 1, problems.prompt)
  healthy = dataclasses.replace(problems, prompt=prompts)
  prompts = prompts.copy()
  prompts[0, 0] = STRANGE
  broken = dataclasses.replace(problems, prompt=prompts)
  one, two = (searched(case, params, p)[0] for p in (broken, healthy))
  assert_same_rows(one, two, [1, 2])
  assert any(two.solutions[1] + two.solutions[2])
  # What cannot be scored is dropped, and was paid for.
  assert thoughts(one)[0].sum() == 0 and one.solutions[0] == []
  assert one.policy_tokens[0] > 0
  assert np.all(np.isfinite(one.tree.node_values[one.tree.valid_mask]))


@pytest.mark.parametrize("bias", [np.nan, np.inf, -np.inf])
def test_a_prm_that_is_no_use_at_all_ends_every_search(
  case, experiment, problems, bias
):
  params = make_params(experiment)
  head = params.prm["implicit_head"]
  params.prm["implicit_head"] = head | {"bias": jnp.float32(bias)}
  found = searched(case, params, problems)[0]
  # An infinite logit is a probability of 0 or 1, which is a score.
  scores = found.tree.thought_rewards[thoughts(found)]
  assert np.all(scores == (bias > 0)) if np.isinf(bias) else not len(scores)
  assert np.all(found.policy_tokens > 0)
  assert np.all(np.isfinite(found.tree.node_values[found.tree.valid_mask]))


def test_a_problem_without_a_prompt_is_not_searched(case, experiment, problems):
  params = make_params(experiment)
  with pytest.raises(ConfigError, match="problem .* has an empty prompt"):
    dataclasses.replace(problems, prompt_length=np.array([3, 0, 3], np.int32))
  # Nor does anything happen to the others, where nobody has refused it.
  whole = searched(case, params, problems)[0]
  problems = dataclasses.replace(problems)
  length = problems.prompt_length.copy()
  length[1] = 0
  object.__setattr__(problems, "prompt_length", length)
  found = searched(case, params, problems)[0]
  assert thoughts(found)[1].sum() == 0 and found.policy_tokens[1] == 0
  assert_same_rows(found, whole, [0, 2])


@pytest.mark.parametrize("method", search.METHODS)
def test_one_sample_is_a_budget_and_none_is_not(experiment, method):
  plan = search.plan(experiment, method, 1)
  assert plan.width >= 1 and plan.candidates == 1 and plan.passes >= 1
  with pytest.raises(ValueError, match="budget is 0 samples' worth"):
    search.plan(experiment, method, 0)
