"""Tests of how a search's solutions become an answer."""

import pathlib
import types

import numpy as np
import pytest

from reasoning_rl.pipelines import config_file, measure, methods, search
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.search import extract

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="experiment", scope="module")
def fixture_experiment(tmp_path_factory):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  return experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))


def _solution(experiment, thoughts, logprob, score):
  tokens = tuple(experiment.encode_solution(thoughts))
  return extract.Solution(
    nodes=(1,),
    tokens=tokens,
    thought_end=(len(tokens) - 1,),
    thought_rewards=(score,),
    policy_logprobs=(logprob,),
    behavior_logprobs=(logprob,),
    visits=(1,),
    values=(score,),
  )


def test_the_best_scored_solution_answers(experiment):
  problem = experiment.task.problem("validation", 0)
  right = experiment.task.demonstration(problem)
  wrong_answer = str((int(problem.answer) + 1) % 5)
  wrong = (*right[:-1], f"={wrong_answer}\n")
  no_answer = right[:-1]
  judge = lambda *scored: measure.judge(
    experiment,
    problem,
    [_solution(experiment, *each) for each in scored],
    [each[2] for each in scored],
    solved=False,
  )
  # However likely the policy holds it, and however often it is there.
  assert judge((right, -9.0, 0.9), (wrong, -0.1, 0.5), (wrong, -0.2, 0.6)) == 1
  assert judge((right, -0.1, 0.5), (wrong, -9.0, 0.9)) == 0
  assert judge((right, -0.1, 0.5), (no_answer, -0.1, 0.9)) == 1
  assert judge((no_answer, -0.1, 0.9)) == 0
  assert judge() == 0


@pytest.mark.parametrize(
  ("votes", "expected"),
  [("", [0, 0]), ("samples", [0, 1]), ("different", [1, 0])],
)
def test_a_search_answers_by_its_best_solution_or_by_vote(
  experiment, votes, expected
):
  problems = experiment.problems("validation", 0, 3)
  said = []
  for problem in problems.problems[:2]:
    right = experiment.task.demonstration(problem)
    wrong = (*right[:-1], f"={(int(problem.answer) + 1) % 5}\n")
    said.append((right, wrong))
  (right, wrong), (other_right, other_wrong) = said
  make = lambda *each: _solution(experiment, *each)
  solutions = [
    # 0.4 against 2 · 0.9 · e⁻² = 0.24.
    [make(wrong, -3.0, 0.9), make(right, -1.0, 0.4), make(wrong, -3.0, 0.9)],
    # 2 · 0.5 against 0.9, and with probabilities 0.37 against 0.9.
    [make(other_right, -2.0, 0.5)] * 2 + [make(other_wrong, -1.0, 0.9)],
  ]
  one = np.ones(3)
  solutions.append([])  # Nothing was found there.
  piece = search.Found(
    solutions=solutions,
    tree=types.SimpleNamespace(problem_id=problems.problem_id),
    policy_tokens=one,
    prm_tokens=one,
    pool_bytes=one,
    seconds=1.0,
  )
  values, _ = measure.search_point(
    experiment, problems, [piece], "last", False, votes
  )
  np.testing.assert_array_equal(values, [*expected, 0])


def test_equal_samples_vote_each_and_other_searches_by_probability():
  found = {name: methods.votes("vote", name) for name in methods.METHODS}
  samples = {name for name, votes in found.items() if votes == "samples"}
  assert samples == {"independent", "rebase", "particles"}
  assert {found[name] for name in found.keys() - samples} == {"different"}
  assert not any(methods.votes("best", name) for name in methods.METHODS)


def test_where_the_goal_is_visible_any_right_solution_counts(experiment):
  problem = experiment.task.problem("validation", 0)
  right = experiment.task.demonstration(problem)
  wrong = (f"={(int(problem.answer) + 1) % 5}\n",)
  found = [
    _solution(experiment, wrong, -0.1, 0.9),
    _solution(experiment, right, -9.0, 0.1),
  ]
  scores = [0.9, 0.1]
  assert measure.judge(experiment, problem, found, scores, solved=True) == 1
  assert measure.judge(experiment, problem, found, scores, solved=False) == 0
