"""How config.json says what positions are rotated by.

There are two ways to say it: `rope_theta`, `rope_scaling` and Gemma's
`rope_local_base_freq`, which every version of transformers reads and which is
what is written here; and since version 5 one object, `rope_parameters`, which
for Gemma holds an object for each kind of layer.
"""

from __future__ import annotations

from typing import Any

from reasoning_rl.models import attention as attention_lib
from reasoning_rl.models import transformer
from reasoning_rl.models.pretrained.values import Values

_BASE = 10_000.0
_GEMMA_BASE = 1_000_000.0
_KNOWN = {
  "default": (),
  "linear": ("factor",),
  "llama3": (
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
  ),
}
_LARGEST_FACTOR = 1e6
_LARGEST_BASE = 1e12

Scaling = attention_lib.RopeScaling | None


def read(
  config: Values, gemma: bool, max_positions: int
) -> tuple[float, Scaling, float | None]:
  """Returns the base, how it is scaled, and the base in sliding layers.

  Args:
    config: What config.json says.
    gemma: Whether layers that slide have a base of their own.
    max_positions: The context length.

  Raises:
    PretrainedError: If it is said in a way that is not known.
  """
  parameters = config.inner("rope_parameters")
  scaling = config.inner("rope_scaling")
  if parameters and scaling and parameters.values != scaling.values:
    config.refuse("rope_scaling", "rope_parameters says something else")
  default = config.number(
    "rope_theta", _GEMMA_BASE if gemma else _BASE, _LARGEST_BASE
  )
  if not gemma:
    found = parameters or scaling
    return *_one(found, default, max_positions), None
  sliding_base = config.number("rope_local_base_freq", _BASE, _LARGEST_BASE)
  if parameters is None:
    return *_one(scaling, default, max_positions), sliding_base
  for key in parameters.values:
    if key not in ("full_attention", "sliding_attention"):
      parameters.refuse(key, "there is an object for each kind of layer here")
  full, near = (
    parameters.inner(f"{kind}_attention") for kind in ("full", "sliding")
  )
  sliding_base, changed = _one(near, sliding_base, max_positions)
  if changed is not None:
    near.refuse("rope_type", "layers that slide are not scaled")
  return *_one(full, default, max_positions), sliding_base


def _one(
  found: Values | None, default: float, max_positions: int
) -> tuple[float, Scaling]:
  """Returns the base and the scaling that one object says."""
  if found is None:
    return default, None
  base = found.number("rope_theta", default, _LARGEST_BASE)
  key = "rope_type" if found.values.get("rope_type") is not None else "type"
  kind = found.text(key, "default", _KNOWN)
  if found.number("partial_rotary_factor", 1.0) != 1:
    found.refuse("partial_rotary_factor", "heads are rotated as a whole")
  for other, value in found.values.items():
    about = ("rope_theta", "rope_type", "type", "partial_rotary_factor")
    if value is not None and other not in (*about, *_KNOWN[kind]):
      found.refuse(other, f"a rotation of the kind {kind!r} has none")
  if kind == "default":
    return base, None
  factor = found.number("factor", most=_LARGEST_FACTOR)
  if kind == "linear":
    return base, attention_lib.RopeScaling("linear", factor)
  low, high = (
    found.number(f"{name}_freq_factor", most=_LARGEST_FACTOR)
    for name in ("low", "high")
  )
  if low >= high:
    found.refuse("low_freq_factor", "it must be below high_freq_factor")
  original = found.integer(
    "original_max_position_embeddings", (1 << 31) - 1, max_positions
  )
  return base, attention_lib.RopeScaling("llama3", factor, low, high, original)


def write(config: transformer.NetworkConfig, gemma: bool) -> dict[str, Any]:
  """Returns what config.json says of a network's rotation."""
  values: dict[str, Any] = {"rope_theta": config.rope_base}
  scaling = config.rope_scaling
  if scaling is not None:
    values["rope_scaling"] = {
      "rope_type": scaling.kind,
      "factor": scaling.factor,
    }
    if scaling.kind == "llama3":
      values["rope_scaling"] |= {
        "low_freq_factor": scaling.low_frequency_factor,
        "high_freq_factor": scaling.high_frequency_factor,
        "original_max_position_embeddings": scaling.original_positions,
      }
  if gemma and config.sliding_rope_base is not None:
    values["rope_local_base_freq"] = config.sliding_rope_base
  return values
