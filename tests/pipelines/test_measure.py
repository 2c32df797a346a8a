"""Tests of how a search's solutions become an answer."""

import pathlib

import pytest

from reasoning_rl.pipelines import config_file, measure
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
