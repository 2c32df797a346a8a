"""Chat templates of the model families, as plain Python.

A model's files bring a template as a program, which is never run here: these
functions write what those programs write. They give pieces, each a control
token or text, so that text which spells a control token stays text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reasoning_rl.data import tokenizers as tokenizers_lib

Message = Mapping[str, Any]
FAMILIES = ("smollm2", "llama3", "llama3.1", "qwen2.5", "qwen3", "gemma3")
ROLES = ("system", "user", "assistant")
_SYSTEM = {
  "smollm2": (
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
  ),
  "qwen2.5": (
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
  ),
}


@dataclasses.dataclass(frozen=True)
class Piece:
  """A control token or text.

  Attributes:
    text: What it is or how it is spelt.
    control: Whether it is the one control token that is spelt so.
  """

  text: str
  control: bool = False


def render(
  family: str,
  messages: Sequence[Message],
  add_generation_prompt: bool = True,
  enable_thinking: bool = True,
  date: str = "26 Jul 2024",
) -> list[Piece]:
  """Returns a conversation as its family's model was trained to read it.

  Args:
    family: One of `FAMILIES`.
    messages: Each a "role", one of `ROLES`, and a "content". Assistant turns
      of Qwen3 may have a "reasoning_content".
    add_generation_prompt: Open the assistant's turn at the end.
    enable_thinking: False writes Qwen3's empty thought into that turn.
    date: Today, as Llama 3.1 is told; the default is the template's own.

  Raises:
    ValueError: If the family cannot read such a conversation.
  """
  if family not in FAMILIES:
    raise ValueError(
      f"Unknown chat template {family!r:.60}; choose one of {FAMILIES}."
    )
  _check_messages(messages, family)
  if family == "gemma3":
    pieces = _render_gemma(messages, add_generation_prompt)
  elif family in ("llama3", "llama3.1"):
    today = date if family == "llama3.1" else ""
    pieces = _render_llama(messages, add_generation_prompt, today)
  elif family == "qwen3":
    pieces = _render_qwen3(messages, add_generation_prompt, enable_thinking)
  else:
    pieces = _render_chatml(messages, add_generation_prompt, _SYSTEM[family])
  return _join(pieces)


def render_text(pieces: Iterable[Piece]) -> str:
  """Returns how the pieces are spelt: for people, not for `encode`."""
  return "".join([piece.text for piece in pieces])


def to_ids(
  pieces: Iterable[Piece], tokenizer: tokenizers_lib.Tokenizer
) -> list[int]:
  """Returns the ids of the pieces.

  Args:
    pieces: What `render` returned.
    tokenizer: One with the control tokens of that family.

  Raises:
    ValueError: If it has not, or if the text cannot be written.
  """
  if not hasattr(tokenizer, "control_id"):
    raise ValueError(
      "A chat template needs control tokens, and this tokenizer has none; use"
      " the tokenizer of a pretrained model."
    )
  ids = []
  for piece in pieces:
    if piece.control:
      ids.append(tokenizer.control_id(piece.text))
    else:
      ids.extend(tokenizer.encode(piece.text))
  return ids


def _control(text: str) -> Piece:
  return Piece(text, control=True)


def _join(pieces: Iterable[Piece]) -> list[Piece]:
  """Joins neighbouring texts, which are encoded together, and drops empty ones.

  A token may reach from a role's line into what was said.
  """
  joined: list[Piece] = []
  for piece in pieces:
    if joined and not piece.control and not joined[-1].control:
      joined[-1] = Piece(joined[-1].text + piece.text)
    elif piece.text:
      joined.append(piece)
  return joined


def _check_messages(messages: Sequence[Message], family: str) -> None:
  if not messages:
    raise ValueError(
      "A conversation needs at least one message; add the user's."
    )
  for index, message in enumerate(messages):
    role = message.get("role")
    if role not in ROLES:
      raise ValueError(
        f"Message {index} has the unknown role {role!r:.60}; choose one of"
        f" {ROLES}."
      )
    if not isinstance(message.get("content"), str):
      raise ValueError(f"Message {index} has no text; give it a 'content'.")
    if role == "system" and index:
      raise ValueError(
        f"Message {index} has the role 'system', which only the first may have."
      )
  if family == "gemma3":
    _check_alternation(messages)


def _check_alternation(messages: Sequence[Message]) -> None:
  first = 1 if messages[0]["role"] == "system" else 0
  if len(messages) == first:
    raise ValueError(
      "Gemma reads a system text as a part of the user's first message; add"
      " that message."
    )
  for index, message in enumerate(messages[first:]):
    expected = ("user", "assistant")[index % 2]
    if message["role"] != expected:
      raise ValueError(
        f"Message {index + first} has the role {message['role']!r}; Gemma's"
        f" turns alternate, and here it is the {expected}'s."
      )


def _chatml_turn(role: str, content: str) -> list[Piece]:
  return [
    _control("<|im_start|>"),
    Piece(f"{role}\n{content}"),
    _control("<|im_end|>"),
    Piece("\n"),
  ]


def _render_chatml(
  messages: Sequence[Message], add_generation_prompt: bool, system: str
) -> list[Piece]:
  pieces = []
  if messages[0]["role"] != "system":
    pieces += _chatml_turn("system", system)
  for message in messages:
    pieces += _chatml_turn(message["role"], message["content"])
  if add_generation_prompt:
    pieces += [_control("<|im_start|>"), Piece("assistant\n")]
  return pieces


def _render_qwen3(
  messages: Sequence[Message],
  add_generation_prompt: bool,
  enable_thinking: bool,
) -> list[Piece]:
  """Writes thoughts only behind the last question, as Qwen3 was trained."""
  question = _last_question(messages)
  pieces = []
  for index, message in enumerate(messages):
    role, content = message["role"], message["content"]
    if role != "assistant":
      pieces += _chatml_turn(role, content)
      continue
    thought, content = _split_thought(message)
    pieces += [_control("<|im_start|>"), Piece("assistant\n")]
    last = index == len(messages) - 1
    if index > question and (last or thought):
      thought = thought.strip("\n")
      pieces += _thought(f"\n{thought}\n")
      content = content.lstrip("\n")
    pieces += [Piece(content), _control("<|im_end|>"), Piece("\n")]
  if add_generation_prompt:
    pieces += [_control("<|im_start|>"), Piece("assistant\n")]
    if not enable_thinking:
      pieces += _thought("\n\n")
  return pieces


def _thought(text: str) -> list[Piece]:
  return [
    _control("<think>"),
    Piece(text),
    _control("</think>"),
    Piece("\n\n"),
  ]


def _split_thought(message: Message) -> tuple[str, str]:
  """Returns an assistant's thought and what it said behind it."""
  content = message["content"]
  thought = message.get("reasoning_content")
  if isinstance(thought, str):
    return thought, content
  if "</think>" not in content:
    return "", content
  thought = content.split("</think>")[0].rstrip("\n")
  thought = thought.split("<think>")[-1].lstrip("\n")
  return thought, content.split("</think>")[-1].lstrip("\n")


def _last_question(messages: Sequence[Message]) -> int:
  """Returns the last user message's index, results of tools left out."""
  for index in reversed(range(len(messages))):
    content = messages[index]["content"]
    is_result = content.startswith("<tool_response>") and content.endswith(
      "</tool_response>"
    )
    if messages[index]["role"] == "user" and not is_result:
      return index
  return len(messages) - 1


def _llama_turn(role: str, content: str) -> list[Piece]:
  return [
    *_llama_header(role),
    Piece(content),
    _control("<|eot_id|>"),
  ]


def _llama_header(role: str) -> list[Piece]:
  return [
    _control("<|start_header_id|>"),
    Piece(role),
    _control("<|end_header_id|>"),
    Piece("\n\n"),
  ]


def _render_llama(
  messages: Sequence[Message], add_generation_prompt: bool, date: str
) -> list[Piece]:
  """Writes headers; Llama 3.1 is told its own date and today's first."""
  pieces = [_control("<|begin_of_text|>")]
  if date:
    system = ""
    if messages[0]["role"] == "system":
      system, messages = messages[0]["content"].strip(), messages[1:]
    dates = f"Cutting Knowledge Date: December 2023\nToday Date: {date}\n\n"
    pieces += _llama_turn("system", dates + system)
  for message in messages:
    pieces += _llama_turn(message["role"], message["content"].strip())
  if add_generation_prompt:
    pieces += _llama_header("assistant")
  return pieces


def _render_gemma(
  messages: Sequence[Message], add_generation_prompt: bool
) -> list[Piece]:
  """Writes turns, the system text at the head of the user's first one."""
  prefix = ""
  if messages[0]["role"] == "system":
    prefix, messages = messages[0]["content"] + "\n\n", messages[1:]
  pieces = [_control("<bos>")]
  for message in messages:
    role = "model" if message["role"] == "assistant" else "user"
    pieces += [
      _control("<start_of_turn>"),
      Piece(f"{role}\n{prefix}{message['content'].strip()}"),
      _control("<end_of_turn>"),
      Piece("\n"),
    ]
    prefix = ""
  if add_generation_prompt:
    pieces += [_control("<start_of_turn>"), Piece("model\n")]
  return pieces
