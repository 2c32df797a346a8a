"""Linear maps against flax's own, and their low-rank path."""

from __future__ import annotations

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reasoning_rl.models import linear, transformer
from reasoning_rl.models import network as network_lib

RNG = jax.random.key(5)
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 7)).astype(np.int32)

MAPS = {
  "Dense": (nn.Dense(6, use_bias=False), linear.Linear((6,)), (2, 3, 5)),
  "Dense with bias": (
    nn.Dense(6),
    linear.Linear((6,), use_bias=True),
    (2, 3, 5),
  ),
  "DenseGeneral to heads": (
    nn.DenseGeneral((2, 4), use_bias=True),
    linear.Linear((2, 4), use_bias=True),
    (2, 3, 5),
  ),
  "DenseGeneral from heads": (
    nn.DenseGeneral(
      6,
      axis=(-2, -1),
      use_bias=False,
      kernel_init=transformer.residual_init(3),
    ),
    linear.Linear((6,), contracted=2, kernel_init=transformer.residual_init(3)),
    (2, 3, 4, 2),
  ),
}


def make_network(**changes) -> network_lib.Network:
  sizes = dict(
    vocab_size=11,
    model_size=16,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_size=8,
    mlp_size=24,
    max_positions=16,
  )
  return network_lib.Network(transformer.NetworkConfig(**sizes | changes))


def leaves(params) -> dict[str, jax.Array]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree.leaves_with_path(params)
  }


def adapted(network: network_lib.Network):
  """Returns fresh parameters whose adapters do something."""

  def fill(path, leaf):
    is_b = "lora_b" in jax.tree_util.keystr(path)
    return jax.random.normal(RNG, leaf.shape) * 0.3 if is_b else leaf

  return jax.tree_util.tree_map_with_path(fill, network.init(RNG))


def logits(network, params):
  hidden, _ = network.apply(params, TOKENS)
  return network.logits(params, hidden)


@pytest.mark.parametrize("name", MAPS)
def test_parameters_and_results_are_flax_own_bit_for_bit(name):
  theirs, ours, shape = MAPS[name]
  x = jax.random.normal(jax.random.key(1), shape)
  params = theirs.init(RNG, x)
  jax.tree.map(np.testing.assert_array_equal, ours.init(RNG, x), params)

  def loss(module):
    return lambda params, x: jnp.sum(jnp.sin(module.apply(params, x)))

  np.testing.assert_array_equal(ours.apply(params, x), theirs.apply(params, x))
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.jit(jax.grad(loss(ours), (0, 1)))(params, x),
    jax.jit(jax.grad(loss(theirs), (0, 1)))(params, x),
  )


def test_the_low_rank_path_is_that_of_the_paper():
  """W + (α / r) A B, with α = 8 and r = 2, in NumPy."""
  module = linear.Linear((3, 2), contracted=2, lora_rank=2, lora_alpha=8.0)
  x = jax.random.normal(jax.random.key(1), (4, 5, 2))
  shapes = {"kernel": (5, 2, 3, 2), "lora_a": (5, 2, 2), "lora_b": (2, 3, 2)}
  generator = np.random.default_rng(0)
  params = {k: generator.normal(size=s) for k, s in shapes.items()}
  assert jax.tree.map(jnp.shape, module.init(RNG, x)["params"]) == shapes
  kernel = params["kernel"].reshape(10, 6)
  product = params["lora_a"].reshape(10, 2) @ params["lora_b"].reshape(2, 6)
  expected = np.asarray(x).reshape(4, 10) @ (kernel + 4 * product)
  params = jax.tree.map(jnp.float32, params)
  np.testing.assert_allclose(
    module.apply({"params": params}, x), expected.reshape(4, 3, 2), rtol=1e-5
  )


def test_fresh_adapters_change_neither_the_kernels_nor_the_output():
  plain, with_adapters = make_network(), make_network(lora_rank=3)
  params = leaves(with_adapters.init(RNG))
  for name, leaf in leaves(plain.init(RNG)).items():
    np.testing.assert_array_equal(params.pop(name), leaf)
  assert len(params) == 2 * 2 * 7  # A and B of 2 layers' 7 kernels.
  for name, leaf in params.items():
    assert bool(jnp.any(leaf)) == name.endswith("lora_a")
  # A keeps the size of what it reads: 2 · 16 · 3 numbers of variance 1 / 16.
  spread = np.std(
    np.stack([params[f"layers_{i}/mlp/gate/lora_a"] for i in range(2)])
  )
  assert 0.2 < spread < 0.3
  np.testing.assert_array_equal(
    logits(with_adapters, with_adapters.init(RNG)),
    logits(plain, plain.init(RNG)),
  )


def test_only_the_kernels_named_get_an_adapter():
  network = make_network(lora_rank=2, lora_targets=("q", "down"))
  names = {n for n in leaves(network.init(RNG)) if "lora" in n}
  assert names == {
    f"layers_{layer}/{where}/lora_{which}"
    for layer in range(2)
    for where in ("attention/q", "mlp/down")
    for which in "ab"
  }


def test_merged_adapters_are_the_same_network_without_them():
  network = make_network(lora_rank=3, lora_alpha=5.0)
  params = adapted(network)
  merged = network.merge(params)
  assert set(leaves(merged)) == set(leaves(make_network().init(RNG)))
  found = logits(network, params)
  for reader in (network, make_network()):
    np.testing.assert_allclose(logits(reader, merged), found, atol=1e-5)
  # And they did something.
  fresh = network.init(RNG)
  assert np.abs(found - logits(network, fresh)).max() > 0.1
  jax.tree.map(np.testing.assert_array_equal, network.merge(merged), merged)


def test_no_gradient_of_a_kernel_is_computed_for_the_adapters():
  """Neither a kernel-sized product nor W + AB stands in the program."""
  network = make_network(lora_rank=3)
  params = network.init(RNG)["layers_0"]["mlp"]["gate"]
  module = linear.Linear((24,), lora_rank=3)
  x = jnp.ones((5, 16))

  def loss(lora, kernel):
    return jnp.sum(module.apply({"params": lora | {"kernel": kernel}}, x) ** 2)

  lora = {k: v for k, v in params.items() if k != "kernel"}
  program = jax.make_jaxpr(jax.grad(loss))(lora, params["kernel"])
  made = [
    v.aval.shape for equation in program.jaxpr.eqns for v in equation.outvars
  ]
  assert (16, 3) in made and (3, 24) in made
  assert (16, 24) not in made and (24, 16) not in made


def test_no_gradient_of_a_frozen_kernel_is_in_the_compiled_program():
  """Where the gradient goes on to what is below, as in all layers but one."""
  kernel, x = jnp.ones((16, 24)), jnp.ones((5, 16))
  module = linear.Linear((24,))
  loss = lambda x, kernel: jnp.sum(module.apply({"params": kernel}, x) ** 2)
  made = lambda argnums: [
    line.strip()
    for line in jax.jit(jax.grad(loss, argnums))
    .lower(x, {"kernel": kernel})
    .compile()
    .as_text()
    .splitlines()
    if re.search(r"= f32\[(16,24|24,16)\]", line)
    and not re.search(r" (parameter|transpose|copy|bitcast)\(", line)
  ]
  assert made((0, 1))
  assert not made(0)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (dict(lora_rank=-1), "lora_rank is -1"),
    (dict(lora_rank=2, lora_targets=("query",)), r"\['query'\]"),
  ],
)
def test_adapters_that_cannot_be_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    make_network(**changes)


DOTS = {
  "matrix": ((3, 5), (5, 4), 1, None),
  "to heads": ((2, 3, 5), (5, 2, 4), 1, None),
  "from heads": ((2, 3, 4, 2), (4, 2, 6), 2, None),
  "vector": ((5,), (5, 4), 1, None),
  "wide sums": ((2, 3, 5), (5, 4), 1, jnp.float32),
}


@pytest.mark.parametrize("name", DOTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_product_and_its_gradients_are_those_of_tensordot(name, dtype):
  x_shape, kernel_shape, contracted, wide = DOTS[name]
  rng_x, rng_kernel, rng_gradient = jax.random.split(RNG, 3)
  x = jax.random.normal(rng_x, x_shape, dtype)
  kernel = jax.random.normal(rng_kernel, kernel_shape, dtype)
  ours, ours_back = jax.vjp(
    lambda x, kernel: linear.dot(x, kernel, contracted, wide), x, kernel
  )
  expected, expected_back = jax.vjp(
    lambda x, kernel: jnp.tensordot(
      x, kernel, contracted, preferred_element_type=wide
    ),
    x,
    kernel,
  )
  assert ours.dtype == expected.dtype
  np.testing.assert_array_equal(ours, expected)
  gradient = jax.random.normal(rng_gradient, ours.shape, ours.dtype)
  tolerance = 1e-6 if dtype == "float32" else 1e-2
  for got, wanted in zip(
    ours_back(gradient), expected_back(gradient), strict=True
  ):
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(
      got.astype(jnp.float32),
      wanted.astype(jnp.float32),
      rtol=tolerance,
      atol=tolerance,
    )


def test_the_gradient_of_a_kernel_transposes_nothing():
  x, kernel = jnp.ones((2, 3, 5)), jnp.ones((5, 2, 4))
  loss = lambda kernel, dot: jnp.sum(dot(x, kernel, 1) ** 2)
  operations = lambda dot: str(
    jax.make_jaxpr(jax.grad(lambda kernel: loss(kernel, dot)))(kernel)
  )
  assert "transpose[" in operations(jnp.tensordot)
  assert "transpose[" not in operations(linear.dot)
