"""The peer of benchmarks/agreement.py: transformers reads the same file."""

from __future__ import annotations

import json
import pathlib
import sys


def main() -> None:
  """Answers prompts with what it would say, and rows with their logits."""
  import numpy as np
  import torch
  import transformers

  job = json.loads(sys.stdin.readline())
  torch.set_num_threads(job["threads"])
  path = pathlib.Path(job["gguf"])
  model = transformers.AutoModelForCausalLM.from_pretrained(
    path.parent, gguf_file=path.name, dtype=torch.float32
  ).eval()
  versions = f"{transformers.__version__}, torch {torch.__version__}"
  print(json.dumps({"versions": versions}), flush=True)
  for line in sys.stdin:
    prompt = torch.tensor([json.loads(line)])
    with torch.inference_mode():
      whole = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        min_new_tokens=job["new_tokens"],
        max_new_tokens=job["new_tokens"],
        eos_token_id=None,
        pad_token_id=0,
      )
      logits = model(whole).logits[0]
    np.save(job["logits"], logits.numpy())
    print(json.dumps({"tokens": whole[0].tolist()}), flush=True)


if __name__ == "__main__":
  main()
