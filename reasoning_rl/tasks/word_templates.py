"""The sentences that word problems are made of.

A problem is about how many {things} of one kind {name} has. In every sentence
`{x}` is what there is before it and `{a}` the number it brings; in a worked
sentence `{r}` is the result. Every number is at least 2, so that plurals fit.
"""

from __future__ import annotations

import dataclasses

NAMES = (
  "Tom", "Anna", "Ben", "Mia", "Sam", "Lucy", "Max", "Emma", "Jack", "Sara",
  "Leo", "Nina", "Paul", "Rosa", "Adam", "Ella", "Mark", "Lily", "Omar", "Jane",
)  # fmt: skip

THINGS = (
  "apples", "oranges", "pencils", "marbles", "stickers", "cookies", "books",
  "shells", "cards", "balloons", "coins", "eggs", "flowers", "stamps", "pens",
  "candies", "lemons", "buttons", "rocks", "toys",
)  # fmt: skip

CONTAINERS = ("bags", "boxes", "baskets", "packs", "jars")

# What a sentence may count beside the things.
UNITS = ("dollars", "grams", "minutes", "days", "rows", "friends")


@dataclasses.dataclass(frozen=True)
class Event:
  """What happens to the things, or what is asked about them.

  Attributes:
    operator: One of "+-*/".
    text: The sentence in the problem.
    worked: The computation in a solution.
    question: What the problem asks if this is its last event. Empty: how many
      there are now.
    ends: Whether the result counts something else, so that nothing can follow.
  """

  operator: str
  text: str
  worked: str
  question: str = ""
  ends: bool = False


HAVE = "{name} has {x} {things}."
HOW_MANY = "How many {things} does {name} have now?"

# Ways to begin with a computation: `{x}` groups of `{a}`.
GROUPS = (
  Event(
    "*",
    "{name} has {x} {containers} with {a} {things} in each.",
    "{name} has {x} * {a} = {r} {things}.",
    "How many {things} does {name} have?",
  ),
  Event(
    "*",
    "{name} buys {x} {containers} of {a} {things}.",
    "{name} buys {x} * {a} = {r} {things}.",
    "How many {things} does {name} buy?",
  ),
  Event(
    "*",
    "{name} lays the {things} in {x} rows of {a}.",
    "There are {x} * {a} = {r} {things}.",
    "How many {things} are there?",
  ),
  Event(
    "*",
    "{name} gets {a} {things} from each of {x} friends.",
    "{name} gets {x} * {a} = {r} {things}.",
    "How many {things} does {name} get?",
  ),
)

_NOW = "Now {name} has {x} + {a} = {r} {things}."
_LEFT = "Then {name} has {x} - {a} = {r} {things}."

EVENTS = (
  Event("+", "{name} buys {a} more {things}.", _NOW),
  Event("+", "{friend} gives {name} {a} {things}.", _NOW),
  Event("+", "Then {name} finds {a} more {things}.", _NOW),
  Event("+", "{name} wins {a} {things} in a game.", _NOW),
  Event("+", "{name} gets {a} more {things} from {friend}.", _NOW),
  Event(
    "+",
    "{friend} has {a} {things}.",
    "Together they have {x} + {a} = {r} {things}.",
    "How many {things} do they have together?",
    ends=True,
  ),
  Event(
    "+",
    "{friend} has {a} more {things} than {name}.",
    "{friend} has {x} + {a} = {r} {things}.",
    "How many {things} does {friend} have?",
    ends=True,
  ),
  Event("-", "{name} gives {a} {things} to {friend}.", _LEFT),
  Event("-", "{name} loses {a} {things}.", _LEFT),
  Event("-", "Then {name} sells {a} {things}.", _LEFT),
  Event("-", "{friend} takes {a} of the {things}.", _LEFT),
  Event("-", "{name} throws away {a} of the {things}.", _LEFT),
  Event(
    "-",
    "{friend} has {a} fewer {things} than {name}.",
    "{friend} has {x} - {a} = {r} {things}.",
    "How many {things} does {friend} have?",
    ends=True,
  ),
  Event(
    "-",
    "{friend} has {a} {things}.",
    "{name} has {x} - {a} = {r} more {things}.",
    "How many more {things} does {name} have than {friend}?",
    ends=True,
  ),
  Event(
    "*",
    "{name} sells all the {things} for {a} dollars each.",
    "{name} gets {x} * {a} = {r} dollars.",
    "How many dollars does {name} get?",
    ends=True,
  ),
  Event(
    "*",
    "Each of the {things} weighs {a} grams.",
    "They weigh {x} * {a} = {r} grams.",
    "How many grams do the {things} weigh?",
    ends=True,
  ),
  Event(
    "*",
    "It takes {a} minutes to wrap each of the {things}.",
    "It takes {x} * {a} = {r} minutes.",
    "How many minutes does it take to wrap all of them?",
    ends=True,
  ),
  Event(
    "*",
    "{friend} has {a} times as many {things} as {name}.",
    "{friend} has {x} * {a} = {r} {things}.",
    "How many {things} does {friend} have?",
    ends=True,
  ),
  Event(
    "/",
    "{name} shares the {things} equally among {a} friends.",
    "Each friend gets {x} / {a} = {r} {things}.",
    "How many {things} does each friend get?",
    ends=True,
  ),
  Event(
    "/",
    "{name} puts the {things} equally into {a} {containers}.",
    "Each has {x} / {a} = {r} {things}.",
    "How many {things} are in each of the {containers}?",
    ends=True,
  ),
  Event(
    "/",
    "{name} packs the {things} into {containers} of {a}.",
    "{name} fills {x} / {a} = {r} {containers}.",
    "How many {containers} does {name} fill?",
    ends=True,
  ),
  Event(
    "/",
    "{name} uses {a} of the {things} every day.",
    "They last {x} / {a} = {r} days.",
    "How many days do the {things} last?",
    ends=True,
  ),
)
