"""SmolLM2-135M's sizes with random weights, for those who measure speed."""

from __future__ import annotations

import pathlib

import jax
import numpy as np

from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import export

SIZES = dict(
  vocab_size=49_152,
  model_size=576,
  num_layers=30,
  num_heads=9,
  num_kv_heads=3,
  head_size=64,
  mlp_size=1536,
  max_positions=8192,
  rope_base=100_000.0,
)


def network(num_layers: int = 0) -> network_lib.Network:
  """Returns the network, with another number of layers unless that is 0."""
  sizes = SIZES | ({"num_layers": num_layers} if num_layers else {})
  return network_lib.Network(transformer.NetworkConfig(**sizes))


def random_params(network: network_lib.Network) -> network_lib.Params:
  """Returns weights of the usual size; compiling `init` takes minutes."""
  generator = np.random.default_rng(0)

  def fill(path, leaf):
    if path[-1].key == "scale":
      return np.ones(leaf.shape, np.float32)
    is_table = path[-1].key == "embedding"
    fan_in = leaf.shape[-1] if is_table else leaf.shape[0]
    if path[-2].key == "out":
      fan_in *= leaf.shape[1]
    weights = generator.standard_normal(leaf.shape, np.float32)
    return weights * np.float32(fan_in**-0.5)

  shapes = jax.eval_shape(network.init, jax.random.key(0))
  return jax.tree_util.tree_map_with_path(fill, shapes)


def write_random(folder: pathlib.Path) -> pathlib.Path:
  """Writes the model as a folder of the Hugging Face layout; returns it."""
  model = network()
  card = export.ModelCard("Random", "Of no use but speed.", "", "none", "Not.")
  export.export(folder, model.config, random_params(model), card)
  return folder
