"""A thought head learns the same from what its trunk once made of the rows."""

import dataclasses

import jax
import numpy as np
import pytest

from reasoning_rl.data import batching
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
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


def test_a_head_keeps_the_statistics_of_what_it_learnt_from(collected):
  changes = {"prm.optimizer.weight_decay": 1.0}
  stage = _with(collected, **changes)
  policy = stage.experiment.policy.init(jax.random.key(0))
  train_prm.train(stage, "prm_0", [0], policy)
  head = train_prm.load(stage, "prm_0")["thought_head"]
  found = train_prm.labelled(stage, [0])
  states = frozen_trunk.thought_states(stage.experiment, policy, found)
  place = np.arange(states.shape[1])[None]
  last = place == found.thought_count[:, None] - 1
  assert (found.label_mask & ~last).any()
  for kind, is_kind in enumerate((~last, last)):
    counted = states[found.label_mask & is_kind]
    center, spread = head["centers"][kind], head["spreads"][kind]
    np.testing.assert_allclose(center, counted.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(spread, counted.std(axis=0), atol=1e-3)


@pytest.fixture
def two_kinds():
  """Returns states of 40 solutions of 2 thoughts, of numbers unlike in size."""
  rng = np.random.default_rng(0)
  size = 16
  centers = rng.normal(0, [[50.0], [50.0]], (2, size))
  spreads = np.exp(rng.normal(0, 2, (2, size)))
  away = rng.normal(size=(40, 3, size))
  kind = np.array([0, 1, 1])  # A solution's third place is empty.
  return (centers[kind] + spreads[kind] * away).astype(np.float32)


def _computed(states, params, network):
  """Returns the numbers that the head's first layer is given."""
  size = states.shape[-1]
  head = params["thought_head"] | {
    "hidden": {"kernel": np.eye(size), "bias": np.full(size, 100.0)},
    "output": {"kernel": np.zeros((size, 1)), "bias": np.zeros(1)},
  }
  at = lambda i: (
    head
    | {"output": {"kernel": np.eye(size)[:, [i]], "bias": np.full(1, -100.0)}}
  )
  return np.stack(
    [
      network.scalar(params | {"thought_head": at(i)}, states, "thought")
      for i in range(size)
    ],
    axis=-1,
  )


@pytest.mark.parametrize("lacks_one", [False, True])
def test_each_kind_of_thought_is_read_in_its_own_units(two_kinds, lacks_one):
  network = network_lib.Network(
    transformer.NetworkConfig(
      vocab_size=5, model_size=16, num_layers=1, heads=("language", "thought")
    )
  )
  params = network.init(jax.random.key(0))
  mask = np.ones(two_kinds.shape[:2], bool)
  mask[:, 2] = False
  mask[:, 0] &= not lacks_one
  mask[::4] = False  # What no label counts of has no say.
  states = np.where(mask[..., None], two_kinds, 1e6)
  count = np.full(len(states), 2)
  read = frozen_trunk.standardized(params, states, mask, count)
  numbers = _computed(states[mask].reshape(30, -1, 16), read, network)
  np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-3)
  np.testing.assert_allclose(numbers.std(axis=0), 1, atol=1e-2)


# Groups of one size, of two sizes, of one row, a problem met again, and one
# solution several times.
_ORDERS = (
  [0, 1, 3, 3],
  [0, 1, 2, 3],
  [2, 0, 1, 3, 3],
  [0, 3],
  [0, 3, 1, 2],
  [3, 3, 0, 1, 0, 2, 2, 1, 0],
)


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


def test_a_solution_found_again_is_not_read_again(
  collected, trajectories, monkeypatch
):
  stage = _with(collected, **{"collect.rows": 4})
  completions = []
  map_problems = experiment_lib.Experiment.map_problems

  def recording(*arguments, **options):
    read = map_problems(*arguments, **options)

    def call(params, prompt, prompt_length, completion, *rest, **shared):
      completions.append(completion)
      return read(params, prompt, prompt_length, completion, *rest, **shared)

    return call

  monkeypatch.setattr(experiment_lib.Experiment, "map_problems", recording)
  policy = stage.experiment.policy.init(jax.random.key(0))
  again = batching.take(trajectories, np.array([0, 1, 2, 0, 1, 2, 0, 3, 3]))
  states = frozen_trunk.thought_states(stage.experiment, policy, again)
  # Two of the first problem in a piece, the one of the other in another.
  assert [c.shape[:2] for c in completions] == [(1, 1), (1, 2)]
  np.testing.assert_array_equal(states[0], states[6])
  assert np.abs(states[0] - states[2]).max() > 0.1


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
