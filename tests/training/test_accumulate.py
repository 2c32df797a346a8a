"""Every learner's loss, accumulated in parts, against the whole batch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reasoning_rl import types
from reasoning_rl.decoding import sampling
from reasoning_rl.models import linear, transformer
from reasoning_rl.models import network as network_lib
from reasoning_rl.pipelines import losses
from reasoning_rl.rl import losses as rl_losses
from reasoning_rl.training import accumulate
from reasoning_rl.training import sharding as sharding_lib
from reasoning_rl.training import train_step as train_step_lib

B, L, LP, G, T, V = 4, 9, 3, 2, 3, 11
GENERATOR = np.random.default_rng(0)
RNG = jax.random.key(1)
RATE = 0.5


def make_network(*heads, **changes) -> network_lib.Network:
  sizes = dict(
    vocab_size=V,
    model_size=8,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_size=4,
    mlp_size=12,
    max_positions=32,
    heads=heads,
  )
  return network_lib.Network(transformer.NetworkConfig(**sizes | changes))


def tokens(*shape) -> np.ndarray:
  return GENERATOR.integers(0, V, shape).astype(np.int32)


def normal(*shape) -> np.ndarray:
  return GENERATOR.normal(0, 0.3, shape).astype(np.float32)


def up_to(length, size) -> np.ndarray:
  return np.arange(size) < np.asarray(length)[..., None]


SUPERVISED = types.SupervisedBatch(
  tokens=tokens(B, L),
  length=np.array([9, 3, 5, 4], np.int32),
  # Parts of two rows each take every other one: 8 + 4 tokens against 1 + 0.
  loss_mask=up_to([8, 1, 4, 0], L),
)
LABELS = types.ThoughtLabels(
  tokens=tokens(B, L),
  prompt_length=np.full(B, 2, np.int32),
  length=np.array([9, 8, 7, 9], np.int32),
  thought_end=np.sort(GENERATOR.integers(2, 7, (B, T)), 1).astype(np.int32),
  labels=GENERATOR.uniform(size=(B, T)).astype(np.float32),
  label_mask=up_to([3, 1, 2, 0], T),
  outcome_reward=np.array([1, 0, 0, 1], np.float32),
)
STATES = types.ThoughtStates(
  states=normal(B, T, 8), labels=LABELS.labels, label_mask=LABELS.label_mask
)
POLICY = types.PolicyBatch(
  prompt=tokens(B, LP),
  prompt_length=np.array([3, 2, 1, 3], np.int32),
  completion=tokens(B, G, L),
  # One row without a token: "sequence" and "constant" do not count it.
  completion_mask=up_to([[9, 7], [1, 2], [8, 3], [0, 1]], L),
  behavior_logprobs=normal(B, G, L) - 2.4,
  reference_logprobs=normal(B, G, L) - 2.4,
  advantages=normal(B, G, L),
)


def policy_case(normalization):
  config = rl_losses.PolicyLossConfig(
    kl_coefficient=0.1,
    kl_sequential=True,
    normalization=normalization,
    constant_length=L,
  )
  how = sampling.SamplingConfig()
  make = lambda network: losses.policy(network, config, how)
  return make, ("language",), POLICY


CASES = {
  "supervised": (losses.supervised, ("language",), SUPERVISED),
  "prm": (losses.thought, ("thought",), LABELS),
  "thought head": (losses.thought_head, ("thought",), STATES),
  "implicit prm": (losses.thought, ("language", "implicit"), LABELS),
  "orm": (losses.outcome, ("outcome",), LABELS),
  "policy by token": policy_case("token"),
  "policy by sequence": policy_case("sequence"),
  "policy by constant": policy_case("constant"),
}
# Like others, and compiled as long.
SLOW = ("implicit prm", "orm", "policy by sequence")


def one_step(loss, params, batch, parts, rules=sharding_lib.DEFAULT_RULES):
  """Returns the parameters and the metrics after one step of descent."""
  mesh = sharding_lib.make_mesh(devices=jax.devices()[:1])
  optimizer = optax.sgd(RATE)
  state = train_step_lib.init_state(params, optimizer, mesh, rules)
  step = train_step_lib.make_train_step(
    loss,
    optimizer,
    train_step_lib.shardings_of(state),
    sharding_lib.batch_sharding(mesh),
    accumulate=parts,
  )
  state, metrics = step(state, batch, RNG)
  return state.params, metrics


def assert_near(found, expected, atol=1e-6):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol),
    found,
    expected,
  )


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW))
    for name in CASES
  ],
)
def test_accumulated_parts_are_the_whole_batch(name, quick_compilation):
  make, heads, batch = CASES[name]
  network = make_network(*heads)
  params = network.init(jax.random.key(2))
  loss = make(network)
  expected, metrics = one_step(loss, params, batch, 1)
  moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), expected, params)
  assert max(jax.tree.leaves(moved)) > 1e-3
  found, found_metrics = one_step(loss, params, batch, 2)
  assert_near(found, expected)
  assert_near(found_metrics, metrics)


@pytest.mark.parametrize("remat", ["dots", "full"])
@pytest.mark.parametrize("name", ["supervised", "policy by token"])
def test_a_backward_pass_that_computes_again_finds_the_same(
  name, remat, quick_compilation
):
  make, heads, batch = CASES[name]
  network, again = make_network(*heads), make_network(*heads, remat=remat)
  params = network.init(jax.random.key(2))
  jax.tree.map(
    np.testing.assert_array_equal, again.init(jax.random.key(2)), params
  )
  assert_near(
    one_step(make(again), params, batch, 1),
    one_step(make(network), params, batch, 1),
  )


def kept_by_backward_passes():
  """Returns how many numbers a backward pass keeps, by `network.remat`."""
  kept = {}
  for remat in transformer.REMAT:
    network = make_network("language", remat=remat)
    params = network.init(jax.random.key(2))
    loss = losses.supervised(network)
    value = lambda p, loss=loss: loss(p, SUPERVISED, RNG)[0]
    pullback = jax.vjp(value, params)[1]
    kept[remat] = sum(x.size for x in jax.tree.leaves(pullback))
  return kept


def test_a_backward_pass_keeps_only_what_the_config_says():
  kept = kept_by_backward_passes()
  assert kept["full"] < kept["dots"] < kept["none"]


def test_products_with_a_gradient_of_our_own_are_products_to_a_policy(
  monkeypatch,
):
  kept = kept_by_backward_passes()
  monkeypatch.setattr(
    linear,
    "dot",
    lambda x, kernel, contracted, dtype=None: jnp.tensordot(
      x, kernel, contracted, preferred_element_type=dtype
    ),
  )
  assert kept_by_backward_passes() == kept


def mean_of_products(params, batch, rng):
  products = params["linear"][: len(batch)] * batch
  return jnp.mean(products), {"largest": jnp.max(batch)}


def count_all(batch):
  return {"loss": batch.size}


@pytest.mark.parametrize(
  ("loss", "parts", "message"),
  [
    (mean_of_products, 2, "pass a MeanLoss"),
    (
      accumulate.MeanLoss(mean_of_products, count_all),
      2,
      r"metrics \['largest'\] are means of",
    ),
    (
      accumulate.MeanLoss(mean_of_products, count_all),
      3,
      "4 rows cannot be accumulated in 3",
    ),
  ],
)
def test_what_cannot_be_accumulated_is_refused(loss, parts, message):
  params = {"linear": jnp.ones((4, 2))}
  batch = np.ones((4, 2), np.float32)
  rules = ((".*", jax.sharding.PartitionSpec()),)
  with pytest.raises(ValueError, match=message):
    one_step(loss, params, batch, parts, rules)
