"""SmolLM2-135M-Instruct on HumanEval: greedy pass@1, nothing is trained.

  python scripts/evaluate.py --config=configs/humaneval.py \
    --workdir=runs/humaneval

All 164 problems are held-out. The model goes on with a function's header, as in
"Evaluating Large Language Models Trained on Code" (2107.03374), for at most 192
tokens. What counts ends with the first line that the function does not own,
such as another "def", "class", "print" or a comment at its margin; programs run
in the sandbox. Another model: --config.model.path=DIR.
"""

import ml_collections

from . import base


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """Returns the config.

  Args:
    variant: "" (two cores) or "gpu" (one data-centre GPU; samples too).
  """
  config = base.get_config()
  config.model.path = "runs/models/smollm2-135m-instruct"
  config.tokenizer.update(kind="huggingface", chat="smollm2")
  config.task.name = "code"
  config.data.update(
    rename=False,
    max_prompt_tokens=400,  # The longest has 395.
    max_thought_tokens=192,
    max_thoughts=64,
    max_completion_tokens=192,
    buckets=(128, 256),
  )
  config.sft.max_steps = 0
  config.evaluate.update(
    problems=164,
    first_problem=0,
    samples=0,
    budgets=(),
    methods=(),
    rows=41,  # A quarter of them at once.
    trees=0,
  )
  if variant == "gpu":
    config.model.dtype = "bfloat16"
    config.sampling.update(temperature=0.2, top_p=0.95)
    config.evaluate.update(samples=10, budgets=(1, 10), rows=164)
  elif variant:
    raise ValueError(f"humaneval.py has no variant {variant!r}; try 'gpu'.")
  return config
