"""Tests of reasoning_rl.training.checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.training import checkpoint as checkpoint_lib
from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib


class _Killed(BaseException):
  """Stands in for a kill: no `except Exception` may catch it."""


def _tree(value=1.0):
  return {
    "up": {"kernel": jnp.full((4, 8), value, jnp.float32)},
    "step": jnp.asarray(3, jnp.int32),
  }


def _kill(monkeypatch, target, name):
  def killed(*unused, **unused_too):
    raise _Killed

  monkeypatch.setattr(target, name, killed)


def _same(tree, other):
  assert jax.tree.structure(tree) == jax.tree.structure(other)
  jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_a_train_state_with_frozen_parameters_comes_back_whole(tmp_path):
  params = {
    "mlp": {"up": {"kernel": jnp.ones((2, 4))}},
    "value_head": {"output": {"kernel": jnp.ones((4, 1))}},
  }
  optimizer = optimizer_lib.make_optimizer(
    optimizer_lib.OptimizerConfig(), "value_head/.*"
  )
  mesh = sharding_lib.make_mesh(devices=jax.devices()[:1])
  state = train_step_lib.init_state(params, optimizer, mesh)
  state = state.replace(step=state.step + 7)
  checkpoint_lib.save(tmp_path, 7, state, {"seed": 5, "names": ["a", "b"]})
  abstract = train_step_lib.abstract_state(params, optimizer, mesh)
  restored = checkpoint_lib.restore(tmp_path, abstract)
  _same(restored, state)
  assert train_step_lib.shardings_of(restored) == train_step_lib.shardings_of(
    abstract
  )
  assert checkpoint_lib.restore_metadata(tmp_path) == {
    "seed": 5,
    "names": ["a", "b"],
  }
  # The parameters alone, as evaluation wants them, have to be asked for.
  part = {"params": abstract.params}
  with pytest.raises(checkpoint_lib.CheckpointError, match="partial=True"):
    checkpoint_lib.restore(tmp_path, part)
  _same(
    checkpoint_lib.restore(tmp_path, part, partial=True),
    {"params": state.params},
  )


def test_the_newest_two_are_kept_and_any_can_be_asked_for(tmp_path):
  assert checkpoint_lib.latest_step(tmp_path / "nothing") is None
  for step in (9, 10, 100):
    checkpoint_lib.save(tmp_path, step, _tree(step))
  assert checkpoint_lib.all_steps(tmp_path) == [10, 100]
  assert checkpoint_lib.latest_step(tmp_path) == 100
  _same(checkpoint_lib.restore(tmp_path, _tree(), step=10), _tree(10))
  # After a return to step 10, the older step being saved is not the one to go.
  checkpoint_lib.save(tmp_path, 11, _tree(11))
  assert checkpoint_lib.all_steps(tmp_path) == [11, 100]
  assert sorted(entry.name for entry in tmp_path.iterdir()) == ["100", "11"]
  with pytest.raises(checkpoint_lib.CheckpointError, match="at least 2"):
    checkpoint_lib.save(tmp_path, 12, _tree(), keep=1)


def test_a_step_saved_again_is_replaced(tmp_path):
  checkpoint_lib.save(tmp_path, 1, _tree(1.0), {"try": 1})
  checkpoint_lib.save(tmp_path, 1, _tree(2.0), {"try": 2})
  _same(checkpoint_lib.restore(tmp_path, _tree()), _tree(2.0))
  assert checkpoint_lib.restore_metadata(tmp_path, 1) == {"try": 2}


@pytest.mark.parametrize(
  ("target", "name"),
  [
    (checkpoint_lib.ocp.Checkpointer, "save"),
    (checkpoint_lib, "_write_manifest"),
    (checkpoint_lib, "_publish"),
  ],
)
def test_a_kill_in_mid_save_leaves_the_step_before(
  tmp_path, monkeypatch, target, name
):
  checkpoint_lib.save(tmp_path, 1, _tree(1.0))
  with monkeypatch.context() as patched:
    _kill(patched, target, name)
    with pytest.raises(_Killed):
      checkpoint_lib.save(tmp_path, 2, _tree(2.0))
  assert checkpoint_lib.latest_step(tmp_path) == 1
  _same(checkpoint_lib.restore(tmp_path, _tree()), _tree(1.0))
  # The next save clears what was left, and succeeds.
  checkpoint_lib.save(tmp_path, 2, _tree(3.0))
  assert sorted(entry.name for entry in tmp_path.iterdir()) == ["1", "2"]
  _same(checkpoint_lib.restore(tmp_path, _tree()), _tree(3.0))


def _array_files(root):
  return sorted(path for path in (root / "arrays").rglob("*") if path.is_file())


def test_a_flipped_bit_anywhere_is_detected_and_the_file_named(tmp_path):
  checkpoint_lib.save(tmp_path, 1, _tree())
  root = tmp_path / "1"
  for path in [*_array_files(root), root / "manifest.json"]:
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    path.write_bytes(bytes(flipped))
    with pytest.raises(checkpoint_lib.CheckpointError, match=path.name):
      checkpoint_lib.restore(tmp_path, _tree())
    path.write_bytes(good)
  _same(checkpoint_lib.restore(tmp_path, _tree()), _tree())


def test_a_missing_or_foreign_file_is_named(tmp_path):
  checkpoint_lib.save(tmp_path, 1, _tree())
  (tmp_path / "1" / "arrays" / "note.txt").write_text("mine")
  with pytest.raises(checkpoint_lib.CheckpointError, match="note.txt was not"):
    checkpoint_lib.restore(tmp_path, _tree())
  (tmp_path / "1" / "arrays" / "note.txt").unlink()
  path = _array_files(tmp_path / "1")[0]
  path.unlink()
  with pytest.raises(checkpoint_lib.CheckpointError, match="is missing"):
    checkpoint_lib.restore(tmp_path, _tree())


@pytest.mark.parametrize(
  ("leaf", "message"),
  [
    (jnp.zeros((4, 8), jnp.int32), r'"up/kernel".*float32\[4, 8\], not int32'),
    (jnp.zeros((4, 8), jnp.bfloat16), "not bfloat16"),
    (jnp.zeros((8, 4)), r"not float32\[8, 4\]"),
    (jax.ShapeDtypeStruct((4, 8), jnp.float32), "without a sharding"),
    (1.0, "is a float, not an array"),
  ],
)
def test_a_leaf_of_another_kind_is_refused_by_name(tmp_path, leaf, message):
  checkpoint_lib.save(tmp_path, 1, _tree())
  wanted = _tree() | {"up": {"kernel": leaf}}
  with pytest.raises(checkpoint_lib.CheckpointError, match=message):
    checkpoint_lib.restore(tmp_path, wanted)


def test_missing_checkpoints_and_leaves_are_named(tmp_path):
  with pytest.raises(checkpoint_lib.CheckpointError, match="no checkpoint in"):
    checkpoint_lib.restore(tmp_path, _tree())
  checkpoint_lib.save(tmp_path, 1, _tree())
  with pytest.raises(checkpoint_lib.CheckpointError, match=r"holds \[1\]"):
    checkpoint_lib.restore_metadata(tmp_path, 2)
  wanted = _tree() | {"down": jnp.zeros(2)}
  with pytest.raises(checkpoint_lib.CheckpointError, match='no leaf "down"'):
    checkpoint_lib.restore(tmp_path, wanted)


def test_what_cannot_be_saved_says_so_and_leaves_the_older_step(tmp_path):
  checkpoint_lib.save(tmp_path, 1, _tree())
  with pytest.raises(checkpoint_lib.CheckpointError, match="as JSON"):
    checkpoint_lib.save(tmp_path, 2, _tree(), {"path": tmp_path})
  with pytest.raises(checkpoint_lib.CheckpointError, match='"seed" is a int'):
    checkpoint_lib.save(tmp_path, 2, {"seed": 3})
  file = tmp_path / "file"
  file.write_text("")
  with pytest.raises(
    checkpoint_lib.CheckpointError, match="could not be saved"
  ):
    checkpoint_lib.save(file, 2, _tree())
  assert checkpoint_lib.all_steps(tmp_path) == [1]
