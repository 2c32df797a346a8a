"""The peer of benchmarks/generate.py: transformers' greedy generate."""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
  """Answers prompts with new tokens and the seconds they took."""
  import torch
  import transformers

  job = json.loads(sys.stdin.readline())
  torch.set_num_threads(job["threads"])
  on_gpu = job["platform"] == "gpu"
  model = transformers.AutoModelForCausalLM.from_pretrained(
    job["model"], dtype=getattr(torch, job["dtype"])
  )
  model = model.to("cuda" if on_gpu else "cpu").eval()
  new = job["new_tokens"]
  versions = f"{transformers.__version__}, torch {torch.__version__}"
  print(json.dumps({"versions": versions}), flush=True)
  for line in sys.stdin:
    prompt = torch.tensor(json.loads(line), device=model.device)
    start = time.perf_counter()
    with torch.inference_mode():
      tokens = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        min_new_tokens=new,
        max_new_tokens=new,
        eos_token_id=None,
        pad_token_id=0,
      )
    said = tokens[:, prompt.shape[1] :].tolist()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "tokens": said}), flush=True)


if __name__ == "__main__":
  main()
