"""How busy the decoding loop is when thoughts differ in length.

  python benchmarks/lanes.py

Decodes one pass of a search, 64 thoughts for each of 8 problems, with all rows
at once and with fewer lanes that rows take in turns. Prints one JSON object.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import timing

from reasoning_rl.decoding import decode as decode_lib
from reasoning_rl.decoding import lanes as lanes_lib
from reasoning_rl.decoding import prompts as prompts_lib
from reasoning_rl.decoding import sampling
from reasoning_rl.decoding import stops as stops_lib
from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import network as network_lib
from reasoning_rl.models import transformer

VOCAB_SIZE, MAX_TOKENS = 32, 24
STOP_IDS = (0, 1, 2, 3)
# So hot that all tokens are nearly alike: a thought ends after each token with
# probability 4 / 32, and its length is geometric.
SAMPLING = sampling.SamplingConfig(temperature=8.0)
PROMPT_SIZE, PATH_SIZE = 24, 48
REQUIRED_OCCUPANCY = 0.85


def lane_occupancy(
  num_problems: int = 8,
  num_leaves: int = 8,
  num_candidates: int = 8,
  lanes: int = 4,
  repetitions: int = 7,
) -> dict[str, Any]:
  """Returns occupancy and tokens per second with and without lanes.

  "one queue" is what an expansion does after short prompts, "queue per problem"
  after long ones. All three sample the same thoughts.

  Args:
    num_problems: Problems searched together.
    num_leaves: Leaves that each expands.
    num_candidates: Thoughts per leaf.
    lanes: Rows per problem that are decoded at once.
    repetitions: Timed calls of each.
  """
  network = network_lib.Network(
    transformer.NetworkConfig(
      vocab_size=VOCAB_SIZE,
      model_size=64,
      num_layers=3,
      num_heads=4,
      num_kv_heads=4,
      head_size=16,
      heads=("language",),
    )
  )
  params = network.init(jax.random.key(0))
  shape = num_problems, num_leaves, num_candidates
  before = _before(network, num_problems, num_problems * num_leaves)
  modes = {
    "all rows": (0, num_problems),
    "queue per problem": (lanes, num_problems),
    "one queue": (lanes * num_problems, 1),
  }
  functions = {
    name: functools.partial(_decode, network, shape, *mode, params, *before)
    for name, mode in modes.items()
  }
  outputs = {name: function() for name, function in functions.items()}
  seconds = timing.interleaved_medians(functions, repetitions)
  lengths = np.asarray(outputs["all rows"].length)
  for out in outputs.values():
    # Rounding may turn a token, and with it the rest of its row.
    assert np.mean(np.asarray(out.length) == lengths) > 0.99
  spent = {name: int(out.spent.sum()) for name, out in outputs.items()}
  computed = {name: int(x.decoded_rows.sum()) for name, x in outputs.items()}
  rate = {name: spent[name] / seconds[name] for name in modes}
  return {
    "rows": lengths.size,
    "lanes_per_problem": lanes,
    "mean_length": float(lengths.mean()),
    "length_variation": float(lengths.std() / lengths.mean()),
    "occupancy": {name: spent[name] / computed[name] for name in modes},
    "required_occupancy": REQUIRED_OCCUPANCY,
    "tokens_per_second": rate,
    "speedup": {name: rate[name] / rate["all rows"] for name in modes},
  }


def _before(network, problems, leaves):
  """Returns prompts, and made-up thoughts between them and the leaves."""
  config, rng = network.config, np.random.default_rng(0)
  shape = leaves, config.num_kv_heads, PATH_SIZE, config.head_size
  layer = lambda: jnp.asarray(rng.normal(size=shape), jnp.float32)
  part = lambda: tuple(layer() for _ in range(config.num_layers))
  path = attention_lib.KeysValues(part(), part())
  sizes = rng.integers(0, PATH_SIZE + 1, (leaves, 1))
  prompt = rng.integers(0, VOCAB_SIZE, (problems, PROMPT_SIZE))
  return (
    jnp.asarray(prompt, jnp.int32),
    jnp.full(problems, PROMPT_SIZE, jnp.int32),
    path,
    jnp.arange(PATH_SIZE)[None] < jnp.asarray(sizes),
  )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _decode(network, shape, lanes, queues, params, prompt, length, path, mask):
  """Decodes one pass of a search; 0 lanes: all rows at once."""
  problems, leaves, candidates = shape
  each = leaves * candidates
  keys_values, hidden = prompts_lib.read_whole(network, params, prompt, length)
  position = jnp.repeat(length, leaves) + mask.sum(axis=1)
  context = decode_lib.Context(
    (
      decode_lib.prompt_segment(keys_values, length),
      attention_lib.Segment(path, mask[:, None, None]),
    ),
    jnp.repeat(hidden, each, axis=0),
    jnp.repeat(position, candidates),
  )
  row_mask = jnp.ones(problems * each, bool)
  decode = decode_lib.decode
  if lanes:
    row_mask = row_mask.reshape(queues, -1)
    decode = functools.partial(lanes_lib.decode, lanes=lanes)
  return decode(
    network,
    params,
    decode_lib.row_rngs(jax.random.key(1), jnp.arange(problems), each),
    context,
    row_mask,
    SAMPLING,
    max_tokens=MAX_TOKENS,
    stops=stops_lib.Stops(STOP_IDS),
  )


if __name__ == "__main__":
  print(json.dumps(lane_occupancy() | {"machine": timing.machine()}))
