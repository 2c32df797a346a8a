"""Loading from any source of tensors, and what is refused by name."""

from __future__ import annotations

import dataclasses
import json

import jax
import ml_dtypes
import numpy as np
import pytest

from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import export, families, load
from reasoning_rl.models.pretrained import parameter_names as names_lib
from reasoning_rl.models.pretrained.source import PretrainedError, TensorInfo

CONFIG = transformer.NetworkConfig(
  vocab_size=11,
  model_size=12,
  num_layers=2,
  num_heads=3,
  num_kv_heads=1,
  head_size=4,
  mlp_size=10,
  qkv_bias=True,
)
UNTIED = dataclasses.replace(CONFIG, tied_embedding=False)
CARD = export.ModelCard(
  name="Tiny",
  summary="What it is.",
  base_model='someone/"model"\n',
  licence="apache-2.0",
  training="By a test.",
)


class Source:
  """Tensors in memory, which counts what is read."""

  def __init__(self, arrays):
    self.arrays, self.reads = arrays, []

  def tensors(self):
    return {n: TensorInfo(x.shape, "F32") for n, x in self.arrays.items()}

  def read(self, name):
    self.reads.append(name)
    return self.arrays[name]


def make_arrays(config=CONFIG):
  """Returns arrays whose numbers say which they are and where they stand."""
  found = {}
  for index, parameter in enumerate(names_lib.parameters(config)):
    size = int(np.prod(parameter.file_shape))
    flat = 1000 * index + np.arange(size, dtype=np.float32)
    found[parameter.name] = flat.reshape(parameter.file_shape)
  return found


def test_heads_and_axes_go_where_they_belong():
  arrays = make_arrays()
  params = load.load_params(Source(arrays), CONFIG, "here")
  q = arrays["model.layers.1.self_attn.q_proj.weight"]
  at = params["layers_1"]["attention"]
  out = arrays["model.layers.1.self_attn.o_proj.weight"]
  bias = arrays["model.layers.1.self_attn.q_proj.bias"]
  for head, column, width in np.ndindex(3, 4, 12):
    # Torch's row is head · K + column, and its column the input.
    assert at["q"]["kernel"][width, head, column] == q[head * 4 + column, width]
    assert (
      at["out"]["kernel"][head, column, width]
      == (out[width, head * 4 + column])
    )
    assert at["q"]["bias"][head, column] == bias[head * 4 + column]
  mlp = params["layers_0"]["mlp"]
  gate = arrays["model.layers.0.mlp.gate_proj.weight"]
  np.testing.assert_array_equal(mlp["gate"]["kernel"], gate.T)
  for name, array in arrays.items():
    parameter = {p.name: p for p in names_lib.parameters(CONFIG)}[name]
    back = parameter.to_file(parameter.from_file(array))
    np.testing.assert_array_equal(back, array)


def test_each_tensor_is_read_once_and_converted():
  source = Source(make_arrays())
  config = dataclasses.replace(CONFIG, dtype="bfloat16")
  params = load.load_params(source, config, "here")
  assert sorted(source.reads) == sorted(source.arrays)
  assert {x.dtype for x in jax.tree.leaves(params)} == {
    np.dtype(ml_dtypes.bfloat16)
  }


def test_loaded_params_are_no_view_of_the_file():
  arrays = make_arrays()
  params = load.load_params(Source(arrays), CONFIG, "here")
  before = jax.tree.map(np.array, params)
  for array in arrays.values():
    array[...] = -1
  jax.tree.map(np.testing.assert_array_equal, params, before)


def without(name):
  return lambda arrays: arrays.pop(name)


def with_one(name, *shape):
  return lambda arrays: arrays.update({name: np.zeros(shape, np.float32)})


@pytest.mark.parametrize(
  "config, change, message",
  [
    (CONFIG, without("model.norm.weight"), "lacks 1 tensors, 'model.norm"),
    (UNTIED, without("lm_head.weight"), "tie_word_embeddings is false"),
    (CONFIG, with_one("model.layers.2.mlp.up_proj.weight", 1), "(2 layers)"),
    (CONFIG, with_one("model.layers.0.self_attn.o_proj.bias", 12), "no place"),
    (CONFIG, with_one("model.layers.0.self_attn.q_norm.weight", 4), "no place"),
    (CONFIG, with_one("lm_head.weight", 11, 12), "other than the embedding"),
    (CONFIG, with_one("lm_head.weight", 12, 11), "other than the embedding"),
    (
      CONFIG,
      with_one("model.layers.1.self_attn.k_proj.weight", 12, 4),
      "k_proj.weight' in here has the shape (12, 4); by the config it is"
      " (4, 12)",
    ),
    (CONFIG, with_one("model.norm.weight", 12, 1), "the shape (12, 1)"),
  ],
)
def test_what_does_not_fit_is_refused_by_name(config, change, message):
  arrays = make_arrays(config)
  change(arrays)
  source = Source(arrays)
  with pytest.raises(PretrainedError) as caught:
    load.load_params(source, config, "here")
  assert message in str(caught.value)
  assert set(source.reads) <= {names_lib.EMBEDDING, names_lib.LANGUAGE_HEAD}


def test_a_source_that_gives_another_shape_than_it_announced_is_refused():
  source = Source(make_arrays())
  source.read = lambda name: np.zeros((3, 2), np.float32)
  with pytest.raises(PretrainedError, match=r"has the shape \(3, 2\)"):
    load.load_params(source, CONFIG, "here")


def test_what_says_nothing_new_is_let_through():
  arrays = make_arrays()
  expected = load.load_params(Source(arrays), CONFIG, "here")
  arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"].copy()
  with_one("model.layers.0.self_attn.rotary_emb.inv_freq", 2)(arrays)
  params = load.load_params(Source(arrays), CONFIG, "here")
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_shardings_may_be_a_tree_or_a_function_of_the_shapes():
  one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  seen = []

  def choose(shapes):
    seen.append(shapes)
    return jax.tree.map(lambda _: one, shapes)

  params = load.load_params(Source(make_arrays()), CONFIG, "here", choose)
  expected = jax.eval_shape(network_lib.Network(CONFIG).init, jax.random.key(0))
  assert jax.tree.all(
    jax.tree.map(lambda x, y: x.shape == y.shape, seen[0], expected)
  )
  again = load.load_params(
    Source(make_arrays()), CONFIG, "here", choose(seen[0])
  )
  jax.tree.map(np.testing.assert_array_equal, params, again)


def make_params(config=CONFIG):
  return load.load_params(Source(make_arrays(config)), config, "here")


def test_a_model_card_says_what_the_caller_knows(tmp_path):
  config = dataclasses.replace(CONFIG, heads=("language", "thought"))
  export.export(tmp_path / "out", config, make_params(), CARD)
  text = (tmp_path / "out" / "README.md").read_text()
  _, header, body = text.split("---\n", 2)
  lines = dict(line.split(": ", 1) for line in header.splitlines())
  # Whatever a name holds, it stays within its line.
  assert json.loads(lines["base_model"]) == CARD.base_model
  assert json.loads(lines["license"]) == "apache-2.0"
  assert "# Tiny\n\nWhat it is.\n" in body
  assert "By a test." in body and "Qwen2ForCausalLM, 2 layers" in body
  assert "Not in these files: its heads thought" in body
  count = sum(x.size for x in jax.tree.leaves(make_params()))
  assert f"{count:,} parameters, float32" in body


def test_weights_are_cut_where_the_limit_says(tmp_path):
  params = make_params()
  total = sum(x.nbytes for x in jax.tree.leaves(params))
  largest = max(x.nbytes for x in jax.tree.leaves(params))
  export.export(tmp_path / "out", CONFIG, params, CARD, max_shard_bytes=largest)
  files = sorted((tmp_path / "out").glob("*.safetensors"))
  assert len(files) > total // largest
  # A header takes room too.
  assert all(f.stat().st_size < largest + 2000 for f in files)
  index = json.loads(
    (tmp_path / "out" / "model.safetensors.index.json").read_text()
  )
  assert index["metadata"]["total_size"] == total
  _, again = load.load(tmp_path / "out")
  jax.tree.map(np.testing.assert_array_equal, again, params)


def test_an_export_brings_the_tokenizer_along(tmp_path):
  (tmp_path / "tokenizer.json").write_text('{"x": 1}')
  export.export(
    tmp_path / "out",
    CONFIG,
    make_params(),
    CARD,
    tokens=dict(eos_token_id=3),
    tokenizer_files=[tmp_path / "tokenizer.json"],
  )
  out = tmp_path / "out"
  assert (out / "tokenizer.json").read_text() == '{"x": 1}'
  said = json.loads((out / "generation_config.json").read_text())
  assert said == {"eos_token_id": 3}
  assert families.read(out)["eos_token_id"] == 3


@pytest.mark.parametrize(
  "config, options, message",
  [
    (CONFIG, dict(dtype="float16"), "'float32' or 'bfloat16'"),
    (CONFIG, dict(tokens=dict(eos_token_id=11)), "ids below 11"),
    (CONFIG, dict(tokens=dict(stop=1)), "ids below 11"),
    (UNTIED, dict(), "params lack 'language_head/kernel'"),
    (dataclasses.replace(CONFIG, mlp_size=11), dict(), "has the shape"),
    (
      dataclasses.replace(UNTIED, heads=("thought",)),
      dict(),
      "without a language head",
    ),
    (CONFIG, dict(tokenizer_files=["/nowhere/x"]), "cannot write"),
  ],
)
def test_what_cannot_be_exported_leaves_nothing_behind(
  tmp_path, config, options, message
):
  with pytest.raises(ValueError, match=message):
    export.export(tmp_path / "out", config, make_params(), CARD, **options)
  assert not list(tmp_path.iterdir())


def test_an_export_overwrites_nothing(tmp_path):
  (tmp_path / "precious").write_text("")
  with pytest.raises(PretrainedError, match="choose another folder"):
    export.export(tmp_path, CONFIG, make_params(), CARD)
  assert [x.name for x in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("cut", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_one_clear_error(tmp_path, cut):
  export.export(tmp_path / "out", CONFIG, make_params(), CARD)
  (tmp_path / "out" / cut).unlink()
  with pytest.raises(PretrainedError, match=cut):
    load.load(tmp_path / "out")
