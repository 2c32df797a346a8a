"""A thought head learns the same from what its trunk once made of the rows."""

import dataclasses

import jax
import numpy as np
import pytest

from reasoning_rl.data import batching
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import frozen_trunk, train_prm
from reasoning_rl.pipelines import stage as stage_lib
from reasoning_rl.training import sharding as sharding_lib

pytestmark = pytest.mark.usefixtures("quick_compilation")


def _with(stage, **changes):
  """Returns the stage with a head on the policy, and with changes."""
  config = stage.config.copy_and_resolve_references()
  config.data.rename = False
  config.prm.update(kind="head", trunk="shared", batch_size=2, steps=3)
  config.prm.optimizer.warmup_steps = 0
  config.update_from_flattened_dict(changes)
  experiment = experiment_lib.build(config, stage.workdir.path)
  return dataclasses.replace(stage, experiment=experiment)


def _leaves(params):
  names = sharding_lib.leaf_names(params)
  return dict(zip(names, map(np.asarray, jax.tree.leaves(params)), strict=True))


@pytest.mark.parametrize("certainty", [False, True])
def test_a_head_learns_from_states_what_it_learns_from_rows(
  collected, monkeypatch, certainty
):
  stage = _with(collected, **{"prm.certainty": certainty})
  policy = stage.experiment.policy.init(jax.random.key(0))
  learnt = []
  for name, is_cached in (("prm_0", True), ("prm_1", False)):
    if not is_cached:
      monkeypatch.setattr(frozen_trunk, "applies", lambda _: False)
    summary = train_prm.train(stage, name, [0], policy)
    learnt.append((_leaves(train_prm.load(stage, name)), summary))
  (states, one), (rows, other) = learnt
  one.pop("seconds", None), other.pop("seconds", None)
  assert one == other and states.keys() == rows.keys()
  before = _leaves(policy)
  for name, value in states.items():
    np.testing.assert_allclose(value, rows[name], atol=2e-5, err_msg=name)
    if not name.startswith("thought_head"):
      np.testing.assert_array_equal(value, before[name], err_msg=name)
  stream = stage.experiment.rng(stage_lib.STREAMS["prm"])
  start = _leaves(train_prm.from_policy(stage.experiment.prm, policy, stream))
  name = "thought_head/hidden/kernel"
  assert np.abs(states[name] - start[name]).max() > 1e-3
  size = stage.experiment.policy.config.model_size
  assert len(states[name]) == size + 2 * certainty


# Groups of one size, of two sizes, of one row, and a problem met again.
_ORDERS = ([0, 1, 3, 3], [0, 1, 2, 3], [2, 0, 1, 3, 3], [0, 3], [0, 3, 1, 2])


@pytest.mark.parametrize("certainty", [False, True])
@pytest.mark.parametrize("rows", [1, 4])
def test_states_are_the_trunk_at_the_ends_of_thoughts(
  collected, trajectories, rows, certainty
):
  stage = _with(collected, **{"collect.rows": rows, "prm.certainty": certainty})
  network = stage.experiment.policy
  policy = network.init(jax.random.key(0))
  apply = jax.jit(network.apply)
  for order in _ORDERS:
    found = batching.take(trajectories, np.array(order))
    states = frozen_trunk.thought_states(stage.experiment, policy, found)
    joined = batching.thought_labels(found)
    hidden, _ = apply(policy, joined.tokens)
    expected = np.take_along_axis(
      np.asarray(hidden), joined.thought_end[..., None], axis=1
    )
    size = network.config.model_size
    np.testing.assert_allclose(states[..., :size], expected, atol=1e-5)
    assert np.ptp(states) > 0.1
    if not certainty:
      continue
    each = jax.nn.log_softmax(network.logits(policy, hidden))
    each = np.take_along_axis(
      np.asarray(each)[:, :-1], joined.tokens[:, 1:, None], axis=2
    )[..., 0]
    first = np.array([[row[1], row[1]] for row in each])  # One token long.
    np.testing.assert_allclose(states[:, 0, size:], first, atol=1e-5)
    second = [each[i, 2 : joined.thought_end[i, 1]] for i in range(len(each))]
    second = [(row.mean(), row.min()) for row in second]
    np.testing.assert_allclose(states[:, 1, size:], second, atol=1e-5)


@pytest.mark.parametrize(
  "changes",
  [
    {"data.rename": True},  # Other rows at every step.
    {"prm.trunk": "separate"},
    {"prm.kind": "implicit", "prm.trunk": "separate"},
  ],
)
def test_a_trunk_or_rows_that_change_are_read_every_time(collected, changes):
  assert frozen_trunk.applies(_with(collected).experiment)
  assert not frozen_trunk.applies(_with(collected, **changes).experiment)
