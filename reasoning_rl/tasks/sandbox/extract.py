"""Finds the program in what a model wrote."""

from __future__ import annotations

_LANGUAGES = ("", "python", "python3", "py")
_FENCE = "```"


def last_block(text: str) -> str | None:
  """Returns the last fenced block if it is closed and Python, else None.

  Strict on purpose: a later block, closed or not, is never passed over in
  favour of an earlier one, for the last word is what the model answers.
  """
  block: list[str] | None = None
  found, language = None, ""
  for line in text.split("\n"):
    stripped = line.strip()
    if block is None and stripped.startswith(_FENCE):
      block, language = [], stripped[len(_FENCE) :].strip().lower()
    elif block is not None and stripped == _FENCE:
      found = "\n".join(block) + "\n" if language in _LANGUAGES else None
      block = None
    elif block is not None:
      block.append(line)
  return None if block is not None else found


def body_of(completion: str) -> str:
  """Returns the lines that continue a function, up to the first that do not.

  A base model goes on after the function with whatever comes next in files.
  """
  kept: list[str] = []
  for line in completion.split("\n"):
    if line.strip() and not line[0].isspace() and kept:
      break
    kept.append(line)
  return "\n".join(kept).rstrip() + "\n"


def continues(text: str) -> bool:
  """Returns whether a text goes on with a function's body, not with an answer.

  What comes behind the body, fences included, is not the function's any more.
  """
  lines = [line for line in text.split("\n") if line.strip()]
  return bool(lines) and lines[0][0].isspace() and _FENCE not in lines[0]


def header_of(prompt: str, entry_point: str) -> str:
  """Returns what stands before the asked function: imports and helpers."""
  lines = prompt.split("\n")
  for number, line in enumerate(lines):
    if line.startswith((f"def {entry_point}(", f"def {entry_point} (")):
      return "".join(line + "\n" for line in lines[:number])
  return ""


def program_of(
  text: str, prompt: str = "", entry_point: str = ""
) -> str | None:
  """Returns the program that an answer holds, None if there is none.

  A text that begins with an indented line, or has no fences, continues the
  prompt. Any other is an answer to a question: its last block counts, after the
  prompt's imports and helpers.

  Args:
    text: What the model wrote.
    prompt: The beginning of the program, as in HumanEval; "" for none.
    entry_point: The asked function's name in the prompt.
  """
  if prompt and continues(text):
    return prompt + body_of(text)
  if _FENCE in text:
    block = last_block(text)
    return None if block is None else header_of(prompt, entry_point) + block
  if prompt and text.strip():
    return prompt + body_of(text)
  return None
