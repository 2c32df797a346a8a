"""A thought head learns the same from what its trunk once made of the rows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.data import batching
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.pipelines import frozen_trunk, reading, train_prm
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
  counted = states[found.label_mask]
  for center, spread in zip(head["centers"], head["spreads"], strict=True):
    np.testing.assert_allclose(center, counted.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(spread, counted.std(axis=0), atol=1e-3)


@pytest.fixture
def two_kinds():
  """Returns states of 80 solutions of 2 thoughts, of numbers unlike in size."""
  rng = np.random.default_rng(0)
  size = 16
  centers = rng.normal(0, [[50.0], [50.0]], (2, size))
  spreads = np.exp(rng.normal(0, 2, (2, size)))
  away = rng.normal(size=(80, 3, size))
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


@pytest.mark.parametrize("others", [80, 9, 0])
def test_each_kind_of_thought_is_read_in_its_own_units(two_kinds, others):
  network = network_lib.Network(
    transformer.NetworkConfig(
      vocab_size=5, model_size=16, num_layers=1, heads=("language", "thought")
    )
  )
  params = network.init(jax.random.key(0))
  mask = np.ones(two_kinds.shape[:2], bool)
  mask[:, 2] = False
  mask[others:, 0] = False
  mask[::4] = False  # What no label counts of has no say.
  states = np.where(mask[..., None], two_kinds, 1e6)
  count = np.full(len(states), 2)
  read = frozen_trunk.standardized(params, states, mask, count)
  kinds = [mask & (np.arange(3) == kind) for kind in (0, 1)]
  for kind in kinds[others < 32 :]:
    numbers = _computed(states[kind][None], read, network)[0]
    np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(numbers.std(axis=0), 1, atol=1e-2)
  if 0 < others < 32:  # Too few for statistics of their own.
    numbers = _computed(states[kinds[0]][None], read, network)[0]
    assert 1 < np.abs(numbers).max() < 20


def test_what_is_only_rounding_is_not_blown_up():
  params = {"thought_head": {}}
  rng = np.random.default_rng(0)
  states = 50 + rng.choice([0, 0.25], (64, 1, 4))  # Neighbours in bfloat16.
  states = states.astype(jnp.bfloat16)
  read = frozen_trunk.standardized(
    params, states, np.ones((64, 1), bool), np.ones(64, np.int64)
  )
  head = jax.tree.map(np.asarray, read["thought_head"])
  assert np.abs(head["centers"] - 50.125).max() < 0.05
  away = (states.astype(np.float32) - head["centers"][1]) / head["spreads"][1]
  assert np.abs(away).max() < 0.5


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
  # Two of the first problem, and that of the other; the first has seven rows.
  assert [c.shape[:2] for c in completions] == [(1, 3)] * 2
  np.testing.assert_array_equal(states[0], states[6])
  assert np.abs(states[0] - states[2]).max() > 0.1


def test_many_solutions_of_a_problem_are_read_in_several_groups(
  collected, trajectories, monkeypatch
):
  stage = _with(collected)
  read = []

  def each_row(prompt, prompt_length, completion, length, end, *, shared):
    del prompt, prompt_length, length, end, shared
    read.append(completion)
    return {"first": completion[..., 0], "all": completion}

  counts = np.array([1, 8, 1, 2, 7, 1, 3, 1, 5, 2])
  found = batching.take(trajectories, np.zeros(counts.sum(), int))
  rng = np.random.default_rng(0)
  found.completion[:] = rng.integers(0, 1000, found.completion.shape)
  found = found.replace(problem_id=np.repeat(np.arange(len(counts)), counts))
  said = reading.each(stage.experiment, found, each_row, 4)
  np.testing.assert_array_equal(said["all"], found.completion)
  np.testing.assert_array_equal(said["first"], found.completion[:, 0])
  # Four at once: twice for 8, 7 and 5.
  assert [completion.shape[:2] for completion in read] == [(1, 4)] * 13


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
