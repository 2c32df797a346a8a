"""How a question is put to a language model.

Zero-shot: an instruction and the question. Few-shot ("Language Models are
Few-Shot Learners", arXiv:2005.14165): worked examples before the question. The
examples reason as `reasoning` says: "chain" of thought (arXiv:2201.11903),
"least_to_most" (arXiv:2205.10625: smaller questions, each answered before the
next one is asked; here in one completion), or "none", the answer alone.

Two styles. "ended" is plain text that a completion goes on with. In it
`base.END` stands where the tokenizer's end token belongs: the examples show how
an answer ends, and a model that knows the token ends its own like that.

  Question: Tom has 3 pens. Tom buys 4 more pens. How many ...?
  Answer:
  Now Tom has 3 + 4 = 7 pens.
  The answer is 7.END
  Question: ...
  Answer:

"chat" is turns, (role, text) each, that a model's own template makes token ids
of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from reasoning_rl.tasks import base

STYLES = ("ended", "chat")
REASONING = ("chain", "least_to_most", "none")

_FINISH = 'End with a line "The answer is N." where N is a number.'
_INSTRUCTIONS = {
  "chain": f"Solve the problem step by step, one computation a line. {_FINISH}",
  "least_to_most": (
    "Break the problem down into smaller questions and answer them one after"
    f" the other, each with its answer on a line. {_FINISH}"
  ),
  "none": 'Give the answer alone, as "The answer is N." where N is a number.',
}


@dataclasses.dataclass(frozen=True)
class PromptConfig:
  """How questions are put.

  Attributes:
    style: One of `STYLES`.
    shots: Worked examples before the question.
    reasoning: "chain", "least_to_most" or "none".
    instructed: Whether an instruction comes first; without examples it does.
    told: The instruction; "" is that of `reasoning`.
  """

  style: str = "ended"
  shots: int = 4
  reasoning: str = "chain"
  instructed: bool = False
  told: str = ""

  def __post_init__(self):
    """Raises on what there is not."""
    base.check_at_least(shots=(self.shots, 0))
    for key, value, known in (
      ("prompt_style", self.style, STYLES),
      ("reasoning", self.reasoning, REASONING),
    ):
      if value not in known:
        raise base.TaskError(
          f"{key} is {value!r}: use one of {', '.join(known)}"
        )

  @property
  def instruction(self) -> str:
    """The instruction, empty where there is none."""
    if self.instructed or not self.shots:
      return self.told or _INSTRUCTIONS[self.reasoning]
    return ""


@dataclasses.dataclass(frozen=True)
class Example:
  """A worked example.

  Attributes:
    question: The problem in words.
    thoughts: Lines of its solution, each with its newline.
  """

  question: str
  thoughts: tuple[str, ...]


def make(
  config: PromptConfig, question: str, examples: Sequence[Example]
) -> tuple[str, tuple[tuple[str, str], ...]]:
  """Returns a problem's prompt as text, and as messages if it is a chat.

  Args:
    config: How the question is put.
    question: The problem in words.
    examples: `config.shots` worked ones.

  Returns:
    The text that goes before a completion and no messages; of a chat the
    question alone and all messages.
  """
  if config.style != "chat":
    shown = [
      _text(example.question) + "".join(example.thoughts)[:-1] + f"{base.END}\n"
      for example in examples
    ]
    start = f"{config.instruction}\n\n" if config.instruction else ""
    return start + "".join(shown) + _text(question), ()
  turns = [("system", config.instruction)] if config.instruction else []
  for example in examples:
    turns.append(("user", example.question))
    turns.append(("assistant", "".join(example.thoughts).removesuffix("\n")))
  return question, (*turns, ("user", question))


def _text(question: str) -> str:
  return f"Question: {question}\nAnswer:\n"
