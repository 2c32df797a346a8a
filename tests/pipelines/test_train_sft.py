"""Which problems the seed demonstrations solve."""

import pytest

from reasoning_rl.pipelines import train_sft
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import arithmetic


def test_demonstrations_solve_the_first_problems_that_may_be_shown():
  task = arithmetic.Arithmetic(modulus=10, shown=0.6)
  seeds = train_sft._seed_problems(task, 20)
  last = seeds[-1].id
  may = [
    problem
    for problem in (task.problem("train", i) for i in range(last + 1))
    if task.may_demonstrate(problem)
  ]
  assert seeds == may and len(seeds) == 20 < last


def test_too_few_problems_that_may_be_shown_is_refused(monkeypatch):
  monkeypatch.setattr(train_sft, "MAX_DEMONSTRATIONS", 30)
  task = arithmetic.Arithmetic(modulus=10, shown=0.2)
  with pytest.raises(ConfigError, match="sft.demonstrations is 20 and only"):
    train_sft._seed_problems(task, 20)
