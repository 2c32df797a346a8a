"""What the config says of a task's texts: their tokenizer and their sizes."""

from __future__ import annotations

import pathlib

import ml_collections

from reasoning_rl.data import chat, tokenizers
from reasoning_rl.pipelines.errors import ConfigError
from reasoning_rl.tasks import base as task_base

_TOKENIZER_PROBLEMS = 500  # Texts that a SentencePiece model is trained on.

# Keys of the section `data`, and the bound of the task that stands in for 0.
_BOUNDS = {
  "max_prompt_tokens": "max_prompt_chars",
  "max_thought_tokens": "max_thought_chars",
  "max_thoughts": "max_thoughts",
}


def sizes(
  data: ml_collections.ConfigDict,
  task: task_base.Task,
  every: int = 0,
  opened: bool = False,
) -> dict[str, int]:
  """Returns the limits on texts: what `data` sets, else the task's own.

  Args:
    data: The config's section of that name.
    task: Its texts have a token per character at most.
    every: Tokens of each thought, where thoughts have one length.
    opened: Whether a token opens every prompt.

  Returns:
    The fields of `Experiment` that hold them.
  """
  size = {}
  for key, bound in _BOUNDS.items():
    size[key] = data[key]
    if key == "max_thought_tokens":
      size[key] = size[key] or every
    if not size[key] and isinstance(task, task_base.Bounded):
      size[key] = getattr(task, bound)
      size[key] += opened and key == "max_prompt_tokens"
    if size[key] < 1:
      raise ConfigError(
        f"data.{key} is {size[key]} and the task {task.name!r} has no bound of"
        " its own: set it to 1 or more."
      )
  if every > size["max_thought_tokens"]:
    raise ConfigError(
      f"data.thoughts is 'every-{every}' and a thought has"
      f" {size['max_thought_tokens']} tokens at most: set"
      f" data.max_thought_tokens to {every} or more."
    )
  longest = size["max_thoughts"] * size["max_thought_tokens"]
  return {
    "prompt_size": size["max_prompt_tokens"],
    "completion_size": data.max_completion_tokens or longest,
    "thought_size": size["max_thought_tokens"],
    "max_thoughts": size["max_thoughts"],
  }


def chat_ids(
  config: ml_collections.ConfigDict,
  tokenizer: tokenizers.Tokenizer,
  problem: task_base.Problem,
) -> list[int]:
  """Returns the tokens of a problem that is a conversation.

  Args:
    config: The section `tokenizer`; `chat` names the template.
    tokenizer: Has the template's control tokens.
    problem: One with messages.
  """
  if not config.chat:
    raise ConfigError(
      f"problem {problem.id} is a conversation, and tokenizer.chat names no"
      f" template: set it to one of {', '.join(chat.FAMILIES)}, or the task's"
      " prompt_style to 'ended'."
    )
  messages = [
    {"role": role, "content": text} for role, text in problem.messages
  ]
  try:
    return chat.to_ids(chat.render(config.chat, messages), tokenizer)
  except ValueError as error:
    raise ConfigError(f"problem {problem.id}: {error}") from error


def check_folder(config: ml_collections.ConfigDict) -> None:
  """Refuses a tokenizer that is not there, by the key that names it.

  Args:
    config: The whole config.
  """
  key = "tokenizer" if config.tokenizer.path else "model"
  path = config[key].path
  if path and not pathlib.Path(path).expanduser().exists():
    raise ConfigError(
      f"{key}.path names {path}, and there is no such folder:"
      " scripts/fetch_model.py makes one, or give that of your own model."
    )


def make_tokenizer(
  config: ml_collections.ConfigDict,
  task: task_base.Task,
  directory: pathlib.Path,
) -> tokenizers.Tokenizer:
  """Returns the tokenizer of a run.

  Args:
    config: The whole config: the sections `tokenizer` and `model`.
    task: Gives the alphabet, or the texts that a SentencePiece model is
      trained on.
    directory: Keeps that model.
  """
  kind, path = config.tokenizer.kind, config.tokenizer.path
  if kind == "huggingface":
    path = path or config.model.path
    if not path:
      raise ConfigError(
        "tokenizer.kind is 'huggingface', and neither tokenizer.path nor"
        " model.path names a model's folder: set one of them."
      )
    check_folder(config)
  if config.model.path and kind != "huggingface":
    raise ConfigError(
      f"model.path names a pretrained model, and tokenizer.kind is {kind!r}:"
      " set it to 'huggingface', for the model knows no other ids."
    )
  if kind == "sentencepiece" and not path:
    path = directory / "tokenizer.model"
    if not path.exists():
      problems = [task.problem("train", i) for i in range(_TOKENIZER_PROBLEMS)]
      solution = (
        task.demonstration
        if isinstance(task, task_base.Demonstrated)
        else lambda problem: ()
      )
      texts = [
        p.prompt.replace(task_base.END, "") + "".join(solution(p))
        for p in problems
      ]
      return tokenizers.SentencePieceTokenizer.train(
        texts, path, config.tokenizer.vocab_size
      )
  if kind == "character" and not isinstance(task, task_base.Lettered):
    raise ConfigError(
      f"the task {task.name!r} is free text and has no alphabet: set"
      " tokenizer.kind to another than 'character'."
    )
  alphabet = task.alphabet if isinstance(task, task_base.Lettered) else ""
  return tokenizers.make_tokenizer(kind, alphabet=alphabet, path=path)
