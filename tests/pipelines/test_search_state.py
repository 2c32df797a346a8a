"""A search that was put on disk goes on as if it had never stopped."""

from __future__ import annotations

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl import tree as tree_lib
from reasoning_rl.decoding import expand
from reasoning_rl.pipelines import config_file, search_state
from reasoning_rl.pipelines import experiment as experiment_lib
from reasoning_rl.search import frontier, mcts
from reasoning_rl.training import checkpoint

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
RULES = {
  "mcts": mcts.MCTSConfig(8, leaves_per_pass=2, skip_exhausted=True),
  "frontier": frontier.FrontierConfig(width=3, num_candidates=2, refill=True),
}
PASSES = {"mcts": (2, 5), "frontier": (1, 3)}  # Before the stop, and in all.


class Search:
  """A method on tiny networks that keep their keys and values in pools."""

  def __init__(self, experiment, name):
    self.name, self.rules = name, RULES[name]
    self.before, self.passes = PASSES[name]
    self.rng = experiment.rng(2)
    self.params = experiment.search_params(
      experiment.policy.init(experiment.rng(0)),
      experiment.prm.init(experiment.rng(1)),
    )
    problems = experiment.problems("validation", 0, 3)
    prompts = (problems.prompt, problems.prompt_length, problems.problem_id)
    networks = experiment.policy, experiment.search_prm
    config = experiment.expand_config(self.rules.num_candidates, "distinct")
    size, capacity = config.max_thought_tokens, self.rules.capacity(self.passes)
    run = mcts.run if name == "mcts" else frontier.run
    expand_fn = expand.make_expand_fn(*networks, config)

    def plant(params, prompts):
      root = expand.make_root(*networks, params, *prompts)
      tree = tree_lib.plant(root, capacity, size, capacity * size)
      return tree if name == "mcts" else frontier.start(tree, self.rules)

    self.plant = functools.partial(jax.jit(plant), self.params, prompts)
    self._run = jax.jit(
      lambda params, rng, state, passes: run(
        params, rng, state, expand_fn, self.rules, passes
      )
    )

  def run(self, state, passes):
    return self._run(self.params, self.rng, state, jnp.asarray(passes))

  def tree(self, state):
    return state if self.name == "mcts" else state.tree


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
  config = config_file.load(_CONFIGS / "arithmetic.py", "tiny")
  return experiment_lib.build(config, tmp_path_factory.mktemp("workdir"))


@pytest.fixture(scope="module", params=sorted(RULES))
def search(request, experiment):
  return Search(experiment, request.param)


def assert_identical(state, expected):
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for (path, one), other in zip(
    jax.tree.leaves_with_path(state), jax.tree.leaves(expected), strict=True
  ):
    one, other = np.asarray(one), np.asarray(other)
    assert (one.dtype, one.shape) == (other.dtype, other.shape), path
    # As bytes: 0.0 and -0.0, or two NaNs, are not to be mixed up either.
    assert one.tobytes() == other.tobytes(), jax.tree_util.keystr(path)


def test_a_stopped_search_goes_on_bit_for_bit(search, tmp_path):
  half = search.run(search.plant(), search.before)
  search_state.save(half, tmp_path / "state")
  restored = search_state.restore(tmp_path / "state", search.plant())
  assert_identical(restored, half)
  continued = search.run(restored, search.passes - search.before)
  whole = search.run(search.plant(), search.passes)
  assert_identical(continued, whole)
  # There was something to lose: tokens in the pools, and passes after the stop.
  found, before = search.tree(whole), search.tree(half)
  assert (found.policy_tokens > before.policy_tokens).sum() >= 2
  assert (before.pool_used > 0).all()
  assert all(np.asarray(x).any() for x in jax.tree.leaves(before.pools))


def test_what_planting_would_give_is_enough_to_restore(search, tmp_path):
  half = search.run(search.plant(), search.before)
  search_state.save(half, tmp_path / "state")
  shapes = jax.eval_shape(search.plant)
  restored = search_state.restore(tmp_path / "state", shapes)
  assert_identical(restored, half)


def test_the_newest_state_is_restored_and_the_one_before_is_kept(tmp_path):
  path = tmp_path / "state"
  for value in range(4):
    search_state.save({"x": jnp.full(3, value)}, path)
  found = search_state.restore(path, {"x": jnp.zeros(3, int)})
  np.testing.assert_array_equal(found["x"], [3, 3, 3])
  assert checkpoint.all_steps(path) == [2, 3]


STATE = {"tree": jnp.arange(5.0), "nothing": jnp.zeros((2, 0)), "none": ()}


def test_empty_arrays_come_back(tmp_path):
  search_state.save(STATE, tmp_path)
  like = jax.tree.map(jnp.ones_like, STATE)
  assert_identical(search_state.restore(tmp_path, like), STATE)


def refusal(path, like=STATE, about=None) -> str:
  with pytest.raises(checkpoint.CheckpointError) as error:
    search_state.restore(path, like, about)
  text = str(error.value)
  assert "\n" not in text and text.endswith(".")
  return text


def test_a_truncated_file_is_refused(tmp_path):
  search_state.save(STATE, tmp_path)
  files = [x for x in (tmp_path / "0" / "arrays").rglob("*") if x.is_file()]
  largest = max(files, key=lambda x: x.stat().st_size)
  largest.write_bytes(largest.read_bytes()[:-1])
  assert "has changed since it was saved" in refusal(tmp_path)
  manifest = tmp_path / "0" / "manifest.json"
  manifest.write_bytes(manifest.read_bytes()[:-9])
  assert "is damaged" in refusal(tmp_path)


def test_what_is_no_search_state_is_refused(tmp_path):
  assert "no checkpoint in" in refusal(tmp_path)
  (tmp_path / "file").write_text("tree")
  assert "no checkpoint in" in refusal(tmp_path / "file")
  checkpoint.save(tmp_path / "policy", 7, {"tree": jnp.arange(5.0)})
  assert "but not of a search" in refusal(tmp_path / "policy")


def test_a_state_of_other_shapes_or_another_search_is_refused(tmp_path):
  search_state.save(STATE, tmp_path, {"method": "mcts", "seed": 1})
  other = STATE | {"tree": jnp.zeros(6)}
  assert 'Leaf "tree"' in refusal(tmp_path, other)
  text = refusal(tmp_path, STATE, {"method": "beam", "seed": 1})
  assert "saved with method 'mcts', now it is 'beam'" in text
  assert "seed 1, now it is 'absent'" in refusal(
    tmp_path, STATE, {"method": "mcts"}
  )
  same = {"method": "mcts", "seed": 1}
  assert_identical(search_state.restore(tmp_path, STATE, same), STATE)
