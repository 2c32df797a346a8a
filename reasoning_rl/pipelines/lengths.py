"""How long things are by config: buckets of prompts, and thinking.

A program is compiled for the sizes of its arrays. Prompts of a real task have
60 to 900 tokens: padded to the longest, most of what is computed is padding;
at their own lengths, each has a program of its own. So a piece of problems has
the prompt size of the smallest bucket that holds its longest prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Int

from reasoning_rl.data import tokenizers
from reasoning_rl.decoding import thinking as thinking_lib


def check(
  config: ml_collections.ConfigDict,
  thinking: thinking_lib.ThinkingConfig | None,
  completion_size: int,
) -> None:
  """Refuses sizes that are no rising sequence, and thinking without room.

  Args:
    config: The whole config.
    thinking: What `thinking` returns of it.
    completion_size: Tokens that a completion may have.
  """
  buckets = tuple(config.data.buckets)
  budgets = tuple(config.evaluate.thinking_budgets)
  if budgets and thinking is None:
    raise ValueError(
      "evaluate.thinking_budgets caps thinking, and thinking.end is not set:"
      " set it to the text that ends thinking."
    )
  if not _rise(buckets, 0) or not _rise(budgets, -1):
    raise ValueError(
      f"evaluate.thinking_budgets is {budgets} and data.buckets"
      f" {buckets}; give rising sizes, such as (64, 128)."
    )
  if thinking is None:
    return
  longest = max((thinking.max_tokens, *budgets))
  needed = longest + len(thinking.end_ids)
  if needed >= completion_size:
    raise ValueError(
      f"thinking of {longest} tokens and its delimiter of"
      f" {len(thinking.end_ids)} leave no room for an answer in a completion of"
      f" {completion_size}: lower thinking.max_tokens and"
      " evaluate.thinking_budgets, or raise data.max_completion_tokens."
    )


def check_context(
  config: ml_collections.ConfigDict,
  prompt_size: int,
  completion_size: int,
  limit: int,
) -> None:
  """Refuses texts that a network has no positions for.

  Args:
    config: The whole config.
    prompt_size: Most prompt tokens.
    completion_size: Most completion tokens.
    limit: The network's positions.
  """
  longest = prompt_size + completion_size
  if longest <= limit:
    return
  advice = f"set network.max_positions to at least {longest}"
  if config.model.path:
    advice = "lower data.max_prompt_tokens or data.max_completion_tokens"
  raise ValueError(
    f"a prompt of {prompt_size} and a solution of {completion_size} tokens"
    f" exceed the context of {limit}; {advice}."
  )


def _rise(sizes: Sequence[Any], above: int) -> bool:
  steps = zip((above, *sizes), sizes, strict=False)
  return all(type(size) is int and size > last for last, size in steps)


def bucket(length: int, buckets: Sequence[int], most: int) -> int:
  """Returns the smallest bucket that holds `length`; `most` if there is none.

  Args:
    length: Of the longest row.
    buckets: Rising sizes; none, and all rows have the size `most`.
    most: Never exceeded.
  """
  return min([size for size in buckets if size >= length] + [most])


def by_bucket(
  prompt_length: Int[np.ndarray, " B"], buckets: Sequence[int]
) -> Int[np.ndarray, " B"]:
  """Returns the order in which rows of one bucket are neighbours."""
  return np.argsort(np.searchsorted(buckets, prompt_length), kind="stable")


def trim(
  prompt: Int[np.ndarray, "B Lp"],
  prompt_length: Int[np.ndarray, " B"],
  buckets: Sequence[int],
) -> Int[np.ndarray, "B _"]:
  """Returns the prompts in the size of their bucket."""
  size = bucket(int(prompt_length.max()), buckets, prompt.shape[1])
  return prompt[:, :size]


def thinking(
  config: ml_collections.ConfigDict, tokenizer: tokenizers.Tokenizer
) -> thinking_lib.ThinkingConfig | None:
  """Returns how long is thought; None without a delimiter.

  Args:
    config: The section `thinking`.
    tokenizer: Writes the delimiters; control tokens of a pretrained model's
      tokenizer are its own ids.
  """
  if not config.end:
    return None
  control = {"allow_control": True} if hasattr(tokenizer, "control_id") else {}
  ids = lambda text: tuple(tokenizer.encode(text, **control))
  return thinking_lib.ThinkingConfig(
    end_ids=ids(config.end),
    wait_ids=ids(config.wait) if config.max_waits else (),
    min_tokens=config.min_tokens,
    max_tokens=config.max_tokens,
    max_waits=config.max_waits,
  )
