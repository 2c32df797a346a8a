"""Models of every family against transformers, in and out."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from reasoning_rl.models import network as network_lib
from reasoning_rl.models.pretrained import export, load, parameter_names

pytestmark = pytest.mark.usefixtures("quick_compilation")

TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}  # Of the logits' scale.
CARD = export.ModelCard(
  name="Tiny",
  summary="A random model.",
  base_model="",
  licence="apache-2.0",
  training="Not at all.",
)


def check_close(actual, expected, dtype):
  scale = np.abs(expected).max()
  np.testing.assert_allclose(actual, expected, atol=TOLERANCE[dtype] * scale)
  assert expected.std() > 0.2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_loaded_model_says_what_transformers_says(
  reference, tokens, logits, dtype
):
  config, params = load.load(reference.folder, dtype=dtype)
  actual = logits(config, params, tokens)
  expected = reference.logits(tokens, dtype)
  check_close(actual, expected, dtype)
  # Rounded at other places, and not more often, than theirs.
  exact = reference.logits(tokens)
  ours, theirs = (np.std(x - exact) for x in (actual, expected))
  assert dtype == "float32" or ours < 1.1 * theirs


def test_an_exported_model_opens_in_transformers(
  reference, tokens, logits, tmp_path
):
  import torch
  import transformers

  config, params = load.load(reference.folder)
  folder = tmp_path / "out"
  # About a third of the model.
  most = sum(x.nbytes for x in jax.tree.leaves(params)) // 3
  export.export(
    folder,
    config,
    params,
    CARD,
    tokens=dict(bos_token_id=1, eos_token_id=[2, 3]),
    max_shard_bytes=most,
  )
  model = transformers.AutoModelForCausalLM.from_pretrained(
    folder, attn_implementation="eager"
  )
  assert type(model) is type(reference.model)
  assert model.dtype == torch.float32
  assert model.generation_config.eos_token_id == [2, 3]
  expected = reference.model.state_dict()
  assert set(model.state_dict()) == set(expected)
  for name, weight in model.state_dict().items():
    assert torch.equal(weight, expected[name]), name
  with torch.no_grad():
    said = model.eval()(torch.from_numpy(tokens)).logits.numpy()
  np.testing.assert_array_equal(said, reference.logits(tokens))
  assert len(list(folder.glob("*.safetensors"))) >= 3
  config_again, params_again = load.load(folder)
  assert config_again == config
  jax.tree.map(np.testing.assert_array_equal, params_again, params)


def test_a_model_is_exported_in_either_dtype(reference, tmp_path):
  import torch
  import transformers

  config, params = load.load(reference.folder, dtype="bfloat16")
  for dtype in ("float32", "bfloat16"):
    folder = tmp_path / dtype
    export.export(folder, config, params, CARD, dtype=dtype)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == getattr(torch, dtype)
    # The weights are such as bfloat16 can hold.
    for name, weight in reference.model.state_dict().items():
      assert torch.equal(model.state_dict()[name].float(), weight), name


def test_a_file_has_a_name_for_each_parameter_of_the_network(reference):
  config, params = load.load(reference.folder)
  shapes = jax.eval_shape(network_lib.Network(config).init, jax.random.key(0))
  same = lambda x, y: x.shape == y.shape and x.dtype == y.dtype
  assert jax.tree.all(jax.tree.map(same, shapes, params))
  names = [p.name for p in parameter_names.parameters(config)]
  assert len(set(names)) == len(names) == len(jax.tree.leaves(shapes))


def test_heads_are_grafted_onto_a_loaded_trunk(reference, tokens):
  config, params = load.load(reference.folder, heads=("thought",))
  assert "language_head" not in params and "thought_head" not in params
  network = network_lib.Network(config)
  fresh = jax.jit(network.init)(jax.random.key(0))
  grafted = network_lib.graft(params, fresh)
  assert set(grafted) == set(fresh)
  hidden = jax.jit(network.apply)(grafted, tokens.astype(np.int32))[0]
  policy, policy_params = load.load(reference.folder)
  apply = jax.jit(network_lib.Network(policy).apply)
  expected = apply(policy_params, tokens.astype(np.int32))[0]
  np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-5)
