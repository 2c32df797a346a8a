"""The peer of benchmarks/train.py: a plain PyTorch step of the same model.

Run by it in a process of its own, with the Python of whatever environment has
torch and transformers. Reads one JSON line that says what to train; then every
line on standard input is one update, answered by a JSON line with its loss and
its seconds.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np


def load(network: dict[str, Any], path: str) -> Any:
  """Returns a transformers model of those sizes with the weights of a file."""
  import torch
  import transformers

  config = transformers.LlamaConfig(
    vocab_size=network["vocab_size"],
    hidden_size=network["model_size"],
    intermediate_size=network["mlp_size"],
    num_hidden_layers=network["num_layers"],
    num_attention_heads=network["num_heads"],
    num_key_value_heads=network["num_kv_heads"],
    head_dim=network["head_size"],
    max_position_embeddings=network["max_positions"],
    rms_norm_eps=1e-6,
    rope_parameters={
      "rope_type": "default",
      "rope_theta": network["rope_base"],
    },
    tie_word_embeddings=True,
    use_cache=False,
  )
  model = transformers.LlamaForCausalLM(config)
  with np.load(path) as arrays:
    state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
  missing, unexpected = model.load_state_dict(state, strict=False)
  if unexpected or set(missing) - {"lm_head.weight"}:
    raise ValueError(f"Weights differ: {missing} missing, {unexpected} left.")
  return model


def make_optimizer(model: Any, settings: dict[str, Any]) -> Any:
  """Returns torch's AdamW, which decays what ours decays."""
  import torch

  decays = lambda name, p: p.ndim >= 2 and "embed" not in name
  groups = [
    {
      "params": [p for n, p in model.named_parameters() if decays(n, p) == on],
      "weight_decay": settings["weight_decay"] if on else 0.0,
    }
    for on in (True, False)
  ]
  return torch.optim.AdamW(
    groups,
    lr=settings["learning_rate"],
    betas=(settings["b1"], settings["b2"]),
  )


def main() -> None:
  """Answers one update per line."""
  import torch

  job = json.loads(sys.stdin.readline())
  if job["threads"]:
    torch.set_num_threads(job["threads"])
  on_gpu = job["platform"] == "gpu"
  dtype = getattr(torch, job["dtype"])
  model = load(job["network"], job["weights"])
  model = model.to("cuda" if on_gpu else "cpu", dtype).train()
  optimizer = make_optimizer(model, job["optimizer"])
  tokens = torch.tensor(job["tokens"], device=model.device)
  print(json.dumps({"versions": torch.__version__}), flush=True)
  for _ in sys.stdin:
    start = time.perf_counter()
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(
      model.parameters(), job["optimizer"]["clip_norm"]
    )
    optimizer.step()
    optimizer.zero_grad()
    if on_gpu:
      torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "loss": loss.item()}), flush=True)


if __name__ == "__main__":
  main()
