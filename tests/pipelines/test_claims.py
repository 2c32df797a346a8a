"""Claims are made of the methods, budgets and policies that were measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reasoning_rl.evaluation import results
from reasoning_rl.pipelines import claims, config_file, reproduce
from tests.evaluation import test_results
from tests.pipelines.bare_task import CONFIGS

_METHODS = {
  "majority vote": 0.2,
  "weighted vote, ORM": 0.4,
  "weighted vote, PRM": 0.6,
  "best-of-N, PRM": 0.5,
  "beam, PRM": 0.9,
}


def _measured(budgets, problems=100):
  """Each method solves the first so many problems, the last one at least."""
  solved = lambda share: np.arange(problems) < share * problems
  found = {
    f"{method}@{budget}": solved(share).astype(float)
    for method, share in _METHODS.items()
    for budget in budgets
  }
  found["sampled/sft"] = solved(0.1).astype(float)
  found["sampled/policy_0"] = solved(0.3).astype(float)
  found["sampled/policy_1"] = solved(0.5).astype(float)
  found["sampled/baseline_rejection"] = solved(0.7).astype(float)
  return found


def _plain(seed):
  """A run whose warm-up took 100 updates, or 200 under the other seed."""
  found = test_results.minimal()
  found["stages"][0]["updates"] = 100 * (seed + 1)
  return found | {"seeds": [seed], "seconds": 1.0, "curves": []}


def _pairs(found):
  return [(c["a"], c["b"], round(c["difference"], 9)) for c in found]


def test_methods_are_compared_at_each_budget_and_policies_once():
  found = claims.comparisons(_measured((16, 64)), (16, 64), solved=False)
  methods = [
    ("weighted vote, PRM", "weighted vote, ORM", 0.2),
    ("weighted vote, ORM", "majority vote", 0.2),
    ("weighted vote, PRM", "majority vote", 0.4),
    ("beam, PRM", "best-of-N, PRM", 0.4),
    ("beam, PRM", "weighted vote, PRM", 0.3),
  ]
  policies = [
    ("loop, iteration 2", "warm-up", 0.4),
    ("loop, iteration 2", "rejection-sampling fine-tuning", -0.2),
  ]
  assert _pairs(found) == [*methods, *methods, *policies]
  said = [claim["sentence"] for claim in found]
  assert all("at 16 samples' worth" in sentence for sentence in said[:5])
  assert all("at 64 samples' worth" in sentence for sentence in said[5:10])
  assert said[-1].startswith("The order is reversed")


def test_what_was_not_measured_is_not_claimed():
  found = claims.comparisons(_measured((4,)), (16,), solved=False)
  assert [c["a"] for c in found] == ["loop, iteration 2"] * 2
  assert claims.comparisons({}, (), solved=False) == []


def test_solved_problems_are_compared_with_sampling():
  measured = _measured((16,))
  measured["pass@k@16"] = measured["best-of-N, PRM@16"]
  found = claims.comparisons(measured, (16,), solved=True)
  beam = [c for c in found if c["a"] == "beam, PRM"]
  assert _pairs(beam) == [("beam, PRM", "pass@k by sampling", 0.4)]


@pytest.mark.parametrize(
  ("budgets", "compared"), [((1, 16, 64), (16, 64)), ((1, 4), (4,))]
)
def test_merged_seeds_are_compared_at_sixteen_and_at_the_largest_budget(
  tmp_path, budgets, compared
):
  config = config_file.load(CONFIGS / "arithmetic.py", "reproduce")
  with config.unlocked():
    config.evaluate.budgets = budgets
  folders = []
  for seed in (0, 1):
    report = tmp_path / f"seed_{seed}" / "report"
    measured = {k: v.tolist() for k, v in _measured(budgets).items()}
    # Under the other seed nothing is solved: what is merged is the mean.
    measured = {k: [x * (seed == 0) for x in v] for k, v in measured.items()}
    results.write_results(report / "results.json", _plain(seed))
    (report / "per_problem.json").write_text(json.dumps(measured))
    folders.append(report.parent)
  reproduce.merge(config, folders, tmp_path / "report")
  merged = results.read_results(tmp_path / "report" / "results.json")
  assert merged["seeds"] == [0, 1]
  assert merged["stages"][0]["updates"] == 150
  methods = [c for c in merged["comparisons"] if "worth" in c["sentence"]]
  assert _pairs(methods)[:1] == [
    ("weighted vote, PRM", "weighted vote, ORM", 0.1)
  ]
  assert len(methods) == 5 * len(compared)
  for claim, budget in zip(methods[::5], compared, strict=True):
    assert f"at {budget} samples' worth" in claim["sentence"]
