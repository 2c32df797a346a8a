"""Loads a model onto a 2 x 2 x 2 mesh, and prints where its parts are.

Run by test_load.py in a process of its own, with eight host devices. Prints one
JSON object.
"""

import json
import pathlib
import sys

import jax
import numpy as np

from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained import export, load
from reasoning_rl.training import sharding as sharding_lib

_CONFIG = transformer.NetworkConfig(
  vocab_size=16,
  model_size=8,
  num_layers=2,
  num_heads=4,
  num_kv_heads=2,
  head_size=4,
  mlp_size=12,
  qkv_bias=True,
  tied_embedding=False,
)
_CARD = export.ModelCard("Tiny", "Random.", "", "apache-2.0", "Not at all.")


def _params():
  generator = np.random.default_rng(0)
  draw = lambda x: generator.normal(size=x.shape).astype(np.float32)
  return jax.tree.map(draw, load.abstract_params(_CONFIG))


def _is_part(leaf, whole):
  """Returns whether each device has what its index says of the whole."""
  return all(
    np.array_equal(shard.data, whole[shard.index])
    for shard in leaf.addressable_shards
  )


def main(directory):
  """Exports a model, loads it onto eight devices, and exports it from there."""
  folder, again = (pathlib.Path(directory) / name for name in ("one", "two"))
  params = _params()
  export.export(folder, _CONFIG, params, _CARD)
  mesh = sharding_lib.make_mesh(data=2, fsdp=2, tensor=2)
  place = lambda shapes: sharding_lib.param_shardings(
    shapes, sharding_lib.DEFAULT_RULES, mesh
  )
  _, loaded = load.load(folder, shardings=place)
  wanted = place(load.abstract_params(_CONFIG))
  same = jax.tree.map(lambda x, y: x.sharding == y, loaded, wanted)
  shapes = {
    sharding_lib.path_name(path): list(leaf.addressable_shards[0].data.shape)
    for path, leaf in jax.tree.leaves_with_path(loaded)
  }
  export.export(again, _CONFIG, loaded, _CARD)
  report = {
    "devices": jax.device_count(),
    "wanted": jax.tree.all(same),
    "equal": jax.tree.all(jax.tree.map(_is_part, loaded, params)),
    "shapes": shapes,
    "same_file": (folder / "model.safetensors").read_bytes()
    == (again / "model.safetensors").read_bytes(),
  }
  print(json.dumps(report))


if __name__ == "__main__":
  main(sys.argv[1])
