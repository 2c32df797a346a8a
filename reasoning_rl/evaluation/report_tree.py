"""Shows a search tree in the report: a folded outline under a map.

The map draws every node as a disc: its colour is the PRM's score, its size the
visits, a bold line the chosen path, a dashed disc a pruned branch. Below it the
same nodes stand as nested <details> with their thoughts and numbers.
"""

from __future__ import annotations

import html
import math

from reasoning_rl.evaluation import report_text, tree_view
from reasoning_rl.evaluation.tree_view import NodeView, TreeView


def render_html(tree: TreeView, identity: str, unfolded: bool = False) -> str:
  """Returns the tree as an HTML fragment for the report's page.

  Args:
    tree: The tree.
    identity: Prefix of the fragment's ids, unique in its page.
    unfolded: Whether the tree is shown at once.
  """
  count = len(tree.nodes) - 1
  verdict = _answer_verdict(tree)
  return (
    f'<details class="tree"{" open" if unfolded else ""}>'
    f"<summary><b>{_escape(tree.method)}</b> "
    f'<span class="thought">{_escape(tree.problem)}</span>'
    f'<span class="stats">answer <b>{_escape(tree.answer)}</b> {verdict}'
    f" · {count} thoughts · "
    f"{report_text.count(tree.cost.policy_tokens)} policy tokens · "
    f"{report_text.seconds(tree.cost.seconds)}</span></summary>"
    f'<div class="mapbox">{_map(tree, identity)}</div>{_legend()}'
    '<p class="folds"><button data-fold="path">Show the chosen path</button>'
    '<button data-fold="all">Unfold all</button>'
    '<button data-fold="none">Fold all</button></p>'
    f'<div class="outline">{_outline(tree, identity)}</div></details>'
  )


def _escape(text: str) -> str:
  return html.escape(tree_view.visible(text))


def _answer_verdict(tree: TreeView) -> str:
  """Returns a mark for whether the chosen path's answer is right."""
  ends = [n.correct for n in tree.nodes if n.chosen and n.terminal]
  if not ends or ends[-1] is None:
    return ""
  return _badge("right", "✓ right") if ends[-1] else _badge("wrong", "✗ wrong")


def _badge(kind: str, text: str) -> str:
  return f'<span class="badge {kind}">{text}</span>'


def _badges(node: NodeView) -> str:
  """Returns the marks of one node in the outline."""
  marks = []
  if node.chosen:
    marks.append(_badge("chosen", "chosen"))
  if node.pruned:
    marks.append(_badge("pruned", "pruned"))
  if node.correct is not None:
    marks.append(
      _badge("right", "✓ right") if node.correct else _badge("wrong", "✗ wrong")
    )
  elif node.terminal:
    marks.append(_badge("terminal", "end"))
  return "".join(marks)


def _outline(tree: TreeView, identity: str) -> str:
  """Returns the nodes as nested <details>, the chosen path unfolded."""
  children = tree_view.children_of(tree)
  parts = [""] * len(tree.nodes)
  # A parent stands before its children: backwards, every child is ready.
  for i in range(len(tree.nodes) - 1, -1, -1):
    node = tree.nodes[i]
    score = node.thought_reward
    light = math.isfinite(score) and 0.15 < score < 0.85
    ink = "#1b1f24" if light or not math.isfinite(score) else "#ffffff"
    text = tree.problem if i == 0 else node.thought
    line = (
      f'<span class="score" style="background:{tree_view.score_color(score)};'
      f'color:{ink}">{tree_view.score_text(score)}</span>'
      f'<span class="thought">{_escape(text)}</span>'
      f'{_badges(node)}<span class="stats">{tree_view.statistics(node)}</span>'
    )
    path = " path" if node.chosen or i == 0 else ""
    name = html.escape(f"{identity}-{i}")
    if not children[i]:
      parts[i] = f'<div class="node{path}" id="{name}">{line}</div>'
      continue
    below = "".join(parts[child] for child in children[i])
    parts[i] = (
      f'<details class="node{path}" id="{name}"{" open" if path else ""}>'
      f"<summary>{line}</summary>{below}</details>"
    )
  return parts[0]


def _layout(tree: TreeView) -> tuple[list[float], list[int], int]:
  """Returns each node's column, its depth, and the number of leaves.

  Leaves take consecutive columns from left to right; a parent stands over the
  middle of its first and last child.
  """
  children = tree_view.children_of(tree)
  depth = [0] * len(tree.nodes)
  for i, node in enumerate(tree.nodes[1:], start=1):
    depth[i] = depth[node.parent] + 1
  column = [0.0] * len(tree.nodes)
  leaves = 0
  stack = [0]
  while stack:
    i = stack.pop()
    if not children[i]:
      column[i] = leaves
      leaves += 1
    stack.extend(reversed(children[i]))
  for i in range(len(tree.nodes) - 1, -1, -1):
    if children[i]:
      column[i] = (column[children[i][0]] + column[children[i][-1]]) / 2
  return column, depth, leaves


def _map(tree: TreeView, identity: str) -> str:
  """Returns the overview of the whole tree as inline SVG."""
  column, depth, leaves = _layout(tree)
  # Few leaves spread over the page; many shrink the map, very many scroll it.
  across = min(64.0, max(11.0, 980.0 / leaves))
  width = round(across * max(leaves - 1, 1) + 40)
  down = min(64.0, max(26.0, 0.4 * max(width, 980) / (max(depth) + 1)))
  height = round(down * max(depth) + 40)
  x = [20 + across * c for c in column]
  y = [20 + down * d for d in depth]
  largest = min(10.0, across * 0.62)
  most = max(1, *(node.visits for node in tree.nodes))
  edges, discs = [], []
  # Chosen nodes are drawn last, on top of their neighbours.
  for i in sorted(range(len(tree.nodes)), key=lambda j: tree.nodes[j].chosen):
    node = tree.nodes[i]
    if i:
      p, half = node.parent, (y[i] + y[node.parent]) / 2
      kind = "chosen" if node.chosen else "pruned" if node.pruned else "plain"
      edges.append(
        f'<path class="edge {kind}" d="M{x[p]:.1f} {y[p]:.1f}C{x[p]:.1f} '
        f'{half:.1f} {x[i]:.1f} {half:.1f} {x[i]:.1f} {y[i]:.1f}"/>'
      )
    size = largest * (0.62 + 0.38 * math.sqrt(node.visits / most))
    discs.append(_disc(node, i, x[i], y[i], size, tree, identity))
  return (
    f'<svg class="map" role="img" width="{width}" height="{height}" '
    f'style="min-width:{0.55 * width:.0f}px" viewBox="0 0 {width} {height}" '
    'aria-label="Map of the search tree">'
    f"{''.join(edges)}{''.join(discs)}</svg>"
  )


def _disc(
  node: NodeView,
  index: int,
  x: float,
  y: float,
  size: float,
  tree: TreeView,
  identity: str,
) -> str:
  """Returns one node of the map, linked to its line in the outline."""
  text = tree.problem if index == 0 else node.thought
  numbers = [f"score {tree_view.score_text(node.thought_reward)}"]
  numbers += filter(None, [tree_view.statistics(node)])
  title = f"{_escape(text)} ({', '.join(numbers)})"
  fill = tree_view.score_color(node.thought_reward)
  kind = "chosen" if node.chosen else "pruned" if node.pruned else "plain"
  mark = ""
  if node.correct is not None:
    mark = (
      f'<text class="mark" x="{x:.1f}" y="{y + size + 11:.1f}">'
      f"{'✓' if node.correct else '✗'}</text>"
    )
  return (
    f'<a href="#{html.escape(identity)}-{index}"><title>{title}</title>'
    f'<circle class="disc {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" '
    f'fill="{fill}" stroke="#3b434d"/>{mark}</a>'
  )


def _legend() -> str:
  """Returns what colours and marks of the map mean."""
  stops = ", ".join(tree_view.score_color(i / 8) for i in range(9))
  return (
    '<p class="legend">PRM score 0 <span class="scale" style="background:'
    f'linear-gradient(to right, {stops})"></span> 1 · larger disc: more visits'
    " · bold: the chosen path · dashed: pruned · ✓ right and ✗ wrong answers ·"
    " point at a disc to read its thought, click to find it below</p>"
  )
