"""Tests of reasoning_rl.training.sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from reasoning_rl.training import optimizer as optimizer_lib
from reasoning_rl.training import sharding as sharding_lib


def _shape(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _transformer_shapes():
  """The parameter tree of a one-layer model: V=16, D=8, H=4, K=2, F=12."""
  head = {
    "hidden": {"kernel": _shape(8, 8), "bias": _shape(8)},
    "output": {"kernel": _shape(8, 1), "bias": _shape(1)},
  }
  return {
    "token_embedding": {"embedding": _shape(16, 8)},
    "layers_0": {
      "attention": {
        "q": {"kernel": _shape(8, 4, 2), "bias": _shape(4, 2)},
        "k": {"kernel": _shape(8, 2, 2)},
        "v": {"kernel": _shape(8, 2, 2)},
        "out": {"kernel": _shape(4, 2, 8)},
        "q_norm": {"scale": _shape(2)},
      },
      "mlp": {
        "gate": {"kernel": _shape(8, 12)},
        "up": {"kernel": _shape(8, 12)},
        "down": {"kernel": _shape(12, 8)},
      },
      "attention_norm": {"scale": _shape(8)},
      "mlp_norm": {"scale": _shape(8)},
    },
    "final_norm": {"scale": _shape(8)},
    "language_head": {"kernel": _shape(8, 16)},
    "value_head": head,
    "thought_head": {
      **head,
      "centers": _shape(2, 8),
      "spreads": _shape(2, 8),
    },
    "outcome_head": head,
    "implicit_head": {"scale": _shape(), "bias": _shape()},
  }


def _mesh_of(data, fsdp, tensor):
  """A mesh of devices this process does not have."""
  return AbstractMesh(
    (data, fsdp, tensor), sharding_lib.AXES, axis_types=(AxisType.Auto,) * 3
  )


def test_the_default_rules_place_every_parameter_of_the_transformer():
  shardings = sharding_lib.param_shardings(
    _transformer_shapes(), sharding_lib.DEFAULT_RULES, _mesh_of(2, 2, 2)
  )
  spec = {
    name: sharding.spec
    for name, sharding in zip(
      sharding_lib.leaf_names(shardings),
      jax.tree.leaves(shardings),
      strict=True,
    )
  }
  layer = "layers_0/"
  assert spec["token_embedding/embedding"] == PartitionSpec("tensor", "fsdp")
  assert spec[layer + "attention/q/kernel"] == PartitionSpec(
    "fsdp", "tensor", None
  )
  assert spec[layer + "attention/out/kernel"] == PartitionSpec(
    "tensor", None, "fsdp"
  )
  assert spec[layer + "mlp/down/kernel"] == PartitionSpec("tensor", "fsdp")
  assert spec[layer + "mlp_norm/scale"] == PartitionSpec()
  assert spec["language_head/kernel"] == PartitionSpec("fsdp", "tensor")
  # It may read more than D numbers.
  assert spec["thought_head/hidden/kernel"] == PartitionSpec(None, "tensor")
  assert spec["thought_head/centers"] == PartitionSpec()
  assert spec["outcome_head/hidden/kernel"] == PartitionSpec("fsdp", "tensor")
  assert spec["thought_head/output/kernel"] == PartitionSpec("tensor", None)
  assert spec["outcome_head/hidden/bias"] == PartitionSpec()
  assert spec["implicit_head/scale"] == PartitionSpec()


def test_a_parameter_that_no_rule_matches_is_named():
  shapes = {"adapter": {"kernel": _shape(8, 8)}}
  with pytest.raises(ValueError, match='"adapter/kernel" matches no sharding'):
    sharding_lib.param_shardings(
      shapes, sharding_lib.DEFAULT_RULES, _mesh_of(1, 1, 1)
    )


def test_a_parameter_that_two_rules_match_is_named_with_both():
  rules = ((r".*/kernel", PartitionSpec()), (r"up/.*", PartitionSpec()))
  with pytest.raises(ValueError, match=r'"up/kernel" matches 2.*\.\*/kernel'):
    sharding_lib.param_shardings(
      {"up": {"kernel": _shape(8, 8)}}, rules, _mesh_of(1, 1, 1)
    )


def test_a_rule_must_match_the_whole_path():
  with pytest.raises(ValueError, match="matches no sharding rule"):
    sharding_lib.param_shardings(
      {"up": {"kernel": _shape(8)}},
      (("up", PartitionSpec()),),
      _mesh_of(1, 1, 1),
    )


def test_an_axis_that_does_not_divide_its_dimension_is_named():
  with pytest.raises(
    ValueError, match='Dimension 1 of parameter "layers_0/attention/k/kernel"'
  ):
    sharding_lib.param_shardings(
      _transformer_shapes(), sharding_lib.DEFAULT_RULES, _mesh_of(1, 1, 4)
    )


def test_a_rule_longer_than_the_shape_is_refused():
  with pytest.raises(ValueError, match="has 3 axes"):
    sharding_lib.param_shardings(
      {"attention": {"q": {"kernel": _shape(8, 8)}}},
      sharding_lib.DEFAULT_RULES,
      _mesh_of(1, 1, 1),
    )


def test_a_mesh_takes_all_devices_or_says_how_many_there_are():
  mesh = sharding_lib.make_mesh(devices=jax.devices()[:1])
  assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "tensor": 1}
  assert set(mesh.axis_types) == {AxisType.Auto}
  with pytest.raises(ValueError, match="needs 3 devices and there are 1"):
    sharding_lib.make_mesh(fsdp=3, devices=jax.devices()[:1])


@pytest.mark.parametrize("trainable", [None, r"value_head/.*"])
def test_moments_lie_where_their_parameters_do(trainable):
  shapes = _transformer_shapes()
  mesh = _mesh_of(2, 2, 2)
  shardings = sharding_lib.param_shardings(
    shapes, sharding_lib.DEFAULT_RULES, mesh
  )
  optimizer = optimizer_lib.make_optimizer(
    optimizer_lib.OptimizerConfig(), trainable
  )
  states = sharding_lib.optimizer_shardings(optimizer, shapes, shardings, mesh)
  by_param = dict(
    zip(
      sharding_lib.leaf_names(shardings),
      jax.tree.leaves(shardings),
      strict=True,
    )
  )
  moments = 0
  names = sharding_lib.leaf_names(states)
  for name, sharding in zip(names, jax.tree.leaves(states), strict=True):
    param = name.partition("mu/")[2] or name.partition("nu/")[2]
    moments += bool(param)
    assert sharding.spec == (
      by_param[param].spec if param else PartitionSpec()
    ), name
  assert moments == 2 * (len(by_param) if trainable is None else 4)


def test_a_batch_keeps_its_values_and_must_fill_the_shards(monkeypatch):
  mesh = sharding_lib.make_mesh(devices=jax.devices()[:1])
  rows = np.arange(6).reshape(3, 2)
  placed = sharding_lib.shard_batch({"x": rows, "y": jnp.asarray(rows)}, mesh)
  np.testing.assert_array_equal(placed["x"], rows)
  assert placed["y"].sharding == sharding_lib.batch_sharding(mesh)
  assert sharding_lib.batch_sharding(mesh, 1).spec == PartitionSpec(
    None, ("data", "fsdp")
  )
  with pytest.raises(ValueError, match='"x" of shape'):
    sharding_lib.shard_batch({"x": rows}, _mesh_of(2, 1, 1))
