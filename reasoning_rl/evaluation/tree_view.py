"""A search tree as it is shown, and how a terminal shows it.

`report_tree` shows the same view in the report. Both are built without
recursion, so a long chain of thoughts is no problem.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from typing import Any

import rich.console
import rich.text
import rich.tree

from reasoning_rl.evaluation import accounting, report_text

NO_PARENT = -1
MANY = 8  # As many siblings that nothing follows are shown as one.
# Orange to blue: told apart with any colour vision, and in grey by position.
_SCALE = ((196, 90, 10), (247, 210, 160), (222, 226, 230), (150, 190, 225),
          (24, 88, 160))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class NodeView:
  """One node of a search tree, as it is shown.

  Attributes:
    parent: Index of the parent, smaller than the node's own; -1 at the root.
    thought: Text of the thought; at the root it is not shown.
    thought_reward: PRM score in [0, 1]; NaN where none was given.
    visits: Visits, or 0 where the method counts none.
    value: Mean return on entering the node; NaN where none was backed up.
    prior: Policy's probability of the thought among its siblings; NaN likewise.
    terminal: Whether the thought ends the solution.
    chosen: Whether the node lies on the path that gave the answer.
    pruned: Whether the search discarded the node.
    correct: Whether the thought is right, and at a terminal node the solution;
      None where nobody knows.
  """

  parent: int
  thought: str
  thought_reward: float = math.nan
  visits: int = 0
  value: float = math.nan
  prior: float = math.nan
  terminal: bool = False
  chosen: bool = False
  pruned: bool = False
  correct: bool | None = None


@dataclasses.dataclass(frozen=True)
class TreeView:
  """A search tree and what it cost. Node 0 is the root: the problem."""

  problem: str
  answer: str
  method: str
  nodes: tuple[NodeView, ...]
  cost: accounting.Cost = accounting.Cost()

  def __post_init__(self):
    """Checks that the nodes make one tree in order."""
    if not self.nodes or self.nodes[0].parent != NO_PARENT:
      raise ValueError("A tree view needs a root: node 0 with parent -1.")
    for i, node in enumerate(self.nodes[1:], start=1):
      if not 0 <= node.parent < i:
        raise ValueError(
          f"Node {i} has parent {node.parent}: a parent must come before its "
          "children."
        )


def from_record(record: Mapping[str, Any]) -> TreeView:
  """Returns a tree from its record in results.json; null becomes NaN."""
  nodes = tuple(
    NodeView(
      **{
        key: math.nan if value is None and key != "correct" else value
        for key, value in node.items()
      }
    )
    for node in record["nodes"]
  )
  return TreeView(
    record["problem"],
    record["answer"],
    record["method"],
    nodes,
    accounting.Cost(**record["cost"]),
  )


def children_of(tree: TreeView) -> list[list[int]]:
  """Returns the children of each node, in order of index."""
  children: list[list[int]] = [[] for _ in tree.nodes]
  for i, node in enumerate(tree.nodes[1:], start=1):
    children[node.parent].append(i)
  return children


def many_endings(
  tree: TreeView, children: list[list[int]], index: int
) -> list[int]:
  """Returns a node's children off the chosen path that nothing follows.

  What a search came back to, as it does to a good answer, is none of them.

  Args:
    tree: The tree.
    children: From `children_of`.
    index: The node.

  Returns:
    None of them where they are fewer than `MANY`.
  """
  endings = [
    child
    for child in children[index]
    if not children[child]
    and not tree.nodes[child].chosen
    and tree.nodes[child].visits <= 1
  ]
  return endings if len(endings) >= MANY else []


def endings_text(tree: TreeView, endings: list[int]) -> str:
  """Returns what stands for `many_endings` where they are not shown."""
  scores = [tree.nodes[i].thought_reward for i in endings]
  best = max(filter(math.isfinite, scores), default=math.nan)
  text = f"{len(endings)} that nothing follows, PRM up to {score_text(best)}"
  right = sum(
    tree.nodes[i].terminal and tree.nodes[i].correct is True for i in endings
  )
  return f"{text}, {report_text.counted(right, 'right answer')}"


def render_text(
  tree: TreeView, width: int = 100, color: bool = False, full: bool = False
) -> str:
  """Returns the tree for a terminal.

  Args:
    tree: The tree.
    width: Columns.
    color: Whether to write ANSI colours.
    full: Whether branches off the chosen path are drawn too, not only counted.
      Otherwise many siblings that nothing follows are counted as well.
  """
  file = io.StringIO()
  console = rich.console.Console(
    file=file,
    width=width,
    force_terminal=color,
    color_system="truecolor" if color else None,
    legacy_windows=False,
  )
  console.print(text_tree(tree, full))
  return file.getvalue()


def text_tree(tree: TreeView, full: bool = False) -> rich.tree.Tree:
  """Returns the tree for `rich` to print; see `render_text`."""
  children = children_of(tree)
  sizes = _subtree_sizes(tree)
  label = rich.text.Text(visible(tree.problem), style="bold")
  label.append(f"  [{visible(tree.method)}]", style="dim")
  branches = {0: rich.tree.Tree(label, guide_style="dim")}
  for i, node in enumerate(tree.nodes):
    # Whether this node's children are drawn was decided at its parent.
    if i not in branches:
      continue
    if not full and not node.chosen and i and children[i]:
      branches[i].add(rich.text.Text(f"… {sizes[i] - 1} more", style="dim"))
      continue
    counted = [] if full else many_endings(tree, children, i)
    for child in sorted(set(children[i]) - set(counted)):
      branches[child] = branches[i].add(_text_label(tree.nodes[child]))
    if counted:
      rest = f"… {endings_text(tree, counted)}"
      branches[i].add(rich.text.Text(rest, style="dim"))
  return branches[0]


def score_color(score: float) -> str:
  """Returns the CSS colour of a PRM score; grey where there is none."""
  if not math.isfinite(score):
    return "#ffffff"
  place = min(max(score, 0.0), 1.0) * (len(_SCALE) - 1)
  left = min(int(place), len(_SCALE) - 2)
  share = place - left
  mixed = (
    round(a + share * (b - a))
    for a, b in zip(_SCALE[left], _SCALE[left + 1], strict=True)
  )
  return "#" + "".join(f"{part:02x}" for part in mixed)


def visible(text: str) -> str:
  """Returns text on one line, with control characters made visible.

  A model may emit anything: an escape code must not reach a terminal.
  """
  return "".join(
    c if c.isprintable() else "⏎" if c == "\n" else "\N{REPLACEMENT CHARACTER}"
    for c in text
  )


def score_text(value: float) -> str:
  """Returns a score as 0.83, and a dash where there is none."""
  return f"{value:.2f}" if math.isfinite(value) else "–"


def statistics(node: NodeView) -> str:
  """Returns the search's numbers of one node, those there are."""
  parts = [report_text.counted(node.visits, "visit")] if node.visits else []
  if math.isfinite(node.value):
    parts.append(f"value {score_text(node.value)}")
  if math.isfinite(node.prior):
    parts.append(f"prior {score_text(node.prior)}")
  return " · ".join(parts)


def _text_label(node: NodeView) -> rich.text.Text:
  """Returns one node's line for a terminal."""
  label = rich.text.Text()
  score = node.thought_reward
  style = score_color(score) if math.isfinite(score) else "dim"
  label.append(f"{score_text(score)} ", style=style)
  emphasis = "bold" if node.chosen else "dim" if node.pruned else ""
  label.append(visible(node.thought), style=emphasis)
  marks = [
    word
    for word, shown in (
      ("chosen", node.chosen),
      ("pruned", node.pruned),
      ("end", node.terminal and node.correct is None),
      ("✓ right", node.correct is True),
      ("✗ wrong", node.correct is False),
    )
    if shown
  ]
  tail = " · ".join(part for part in (*marks, statistics(node)) if part)
  return label.append(f"  {tail}" if tail else "", style="dim")


def _subtree_sizes(tree: TreeView) -> list[int]:
  """Returns how many nodes hang at and under each node."""
  sizes = [1] * len(tree.nodes)
  for i in range(len(tree.nodes) - 1, 0, -1):
    sizes[tree.nodes[i].parent] += sizes[i]
  return sizes
