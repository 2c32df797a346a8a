"""Shows a search tree in the report: a folded outline under a map.

The map draws every node as a disc: its colour is the PRM's score, its size and
number the visits, a bold line the chosen path, a dashed disc a pruned branch.
Below it the same nodes stand as nested <details>, a line each, with the numbers
in columns.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from reasoning_rl.evaluation import (
  report_page,
  report_text,
  tree_layout,
  tree_view,
)
from reasoning_rl.evaluation.tree_view import NodeView, TreeView

_NUMBERED = 7.5  # Radius of a disc that has room for its visits.


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


def render_frame(trees: Sequence[TreeView], height: int = 640) -> str:
  """Returns trees as a page inside a page, for a notebook to display.

  Args:
    trees: The trees; the first is shown at once.
    height: Pixels.
  """
  body = "".join(
    render_html(tree, f"tree{i}", unfolded=i == 0)
    for i, tree in enumerate(trees)
  )
  body = f"<section>{body}</section>"
  page = html.escape(report_page.document("Search trees", body))
  return (
    f'<iframe srcdoc="{page}" width="100%" height="{height}" '
    'style="border:0"></iframe>'
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


def _badges(node: NodeView, unfinished: bool) -> str:
  """Returns the marks of one node in the outline."""
  marks = []
  if node.chosen:
    marks.append(_badge("chosen", "chosen"))
  if node.pruned:
    marks.append(_badge("pruned", "pruned"))
  if unfinished:
    marks.append(_badge("terminal", "unfinished"))
  if node.terminal and node.correct is not None:
    marks.append(
      _badge("right", "✓ right") if node.correct else _badge("wrong", "✗ wrong")
    )
  elif node.terminal:
    marks.append(_badge("terminal", "end"))
  elif node.correct is not None:
    marks.append(f'<span class="sign">{"✓" if node.correct else "✗"}</span>')
  return "".join(marks)


def _outline(tree: TreeView, identity: str) -> str:
  """Returns the nodes as nested <details>, the chosen path unfolded."""
  children = tree_view.children_of(tree)
  columns = _columns(tree)
  parts = [""] * len(tree.nodes)
  # A parent stands before its children: backwards, every child is ready.
  for i in range(len(tree.nodes) - 1, -1, -1):
    node = tree.nodes[i]
    line = _line(tree, i, bool(children[i]), columns)
    kind = " path" if node.chosen or i == 0 else " off" if node.pruned else ""
    name = html.escape(f"{identity}-{i}")
    if not children[i]:
      parts[i] = f'<div class="node{kind}" id="{name}">{line}</div>'
      continue
    below = _below(tree, children, i, parts)
    is_open = " open" if kind == " path" else ""
    parts[i] = (
      f'<details class="node{kind}" id="{name}"{is_open}>'
      f"<summary>{line}</summary>{below}</details>"
    )
  heads = "".join(f"<i>{name}</i>" for name, _ in columns)
  return (
    '<div class="heads"><span class="score">PRM</span>'
    f'<span class="thought">thought</span><span class="cells">{heads}</span>'
    f"</div>{parts[0]}"
  )


def _below(tree, children, parent, parts) -> str:
  """Returns a node's children; many that nothing follows are folded away."""
  endings = tree_view.many_endings(tree, children, parent)
  others = sorted(set(children[parent]) - set(endings))
  shown = "".join(parts[i] for i in others)
  if not endings:
    return shown
  return (
    f'{shown}<details class="node rest">'
    f"<summary>{tree_view.endings_text(tree, endings)}</summary>"
    f"{''.join(parts[i] for i in endings)}</details>"
  )


def _columns(tree: TreeView):
  """Returns the names of the search's numbers that there are, and readers."""
  score = tree_view.score_text
  every = (
    ("visits", lambda n: str(n.visits) if n.visits else "–"),
    ("value", lambda n: score(n.value)),
    ("prior", lambda n: score(n.prior)),
  )
  return [
    (name, read)
    for name, read in every
    if any(read(node) != "–" for node in tree.nodes)
  ]


def _line(tree: TreeView, index: int, goes_on: bool, columns) -> str:
  """Returns one node's line in the outline."""
  node = tree.nodes[index]
  text = tree.problem if index == 0 else node.thought
  cells = "".join(f"<i>{read(node)}</i>" for _, read in columns)
  unfinished = not (goes_on or node.terminal or node.pruned) and index > 0
  return (
    f'<span class="score" style="background:'
    f"{tree_view.score_color(node.thought_reward)};"
    f'color:{_ink(node.thought_reward)}">'
    f"{tree_view.score_text(node.thought_reward)}</span>"
    f'<span class="thought">{_escape(text)}</span>'
    f"{_badges(node, unfinished)}"
    f'<span class="cells">{cells}</span>'
  )


def _ink(score: float) -> str:
  """Returns a colour that is read on a score's colour."""
  dark = math.isfinite(score) and not 0.15 < score < 0.85
  return "#ffffff" if dark else "#1b1f24"


def _map(tree: TreeView, identity: str) -> str:
  """Returns the overview of the whole tree as inline SVG."""
  at = tree_layout.layout(tree)
  edges, discs = [], []
  # Chosen nodes are drawn last, on top of their neighbours.
  for i in sorted(range(len(tree.nodes)), key=lambda j: tree.nodes[j].chosen):
    if i:
      edges.append(_edge(tree, i, at))
    discs.append(_disc(tree, i, at, identity))
  width, height = math.ceil(at.width), math.ceil(at.height)
  return (
    f'<svg class="map" role="img" width="{width}" height="{height}" '
    f'style="min-width:{0.7 * width:.0f}px" '
    f'viewBox="0 0 {width} {height}" aria-label="Map of the search tree">'
    f"{''.join(edges)}{''.join(discs)}</svg>"
  )


def _edge(tree: TreeView, index: int, at: tree_layout.Layout) -> str:
  """Returns the line from a node's parent: wide if visited, dark if likely."""
  node = tree.nodes[index]
  parent = node.parent
  x, y, top, end = at.x[parent], at.y[index], at.y[parent], at.edge_x[index]
  if end is None:
    return ""
  half = (top + y) / 2
  kind = "chosen" if node.chosen else "pruned" if node.pruned else "plain"
  style = ""
  if kind == "plain":
    share = node.visits / max(1, tree.nodes[0].visits)
    prior = node.prior if math.isfinite(node.prior) else 0.5
    style = (
      f' stroke-width="{1 + 4 * math.sqrt(share):.1f}" '
      f'stroke-opacity="{0.35 + 0.65 * min(prior, 1.0):.2f}"'
    )
  return (
    f'<path class="edge {kind}"{style} d="M{x:.1f} {top:.1f}C{x:.1f} '
    f'{half:.1f} {end:.1f} {half:.1f} {end:.1f} {y:.1f}"/>'
  )


def _disc(
  tree: TreeView, index: int, at: tree_layout.Layout, identity: str
) -> str:
  """Returns one node of the map, linked to its line in the outline."""
  node, x, y, size = (
    tree.nodes[index],
    at.x[index],
    at.y[index],
    at.radius[index],
  )
  text = tree.problem if index == 0 else node.thought
  numbers = [f"score {tree_view.score_text(node.thought_reward)}"]
  numbers += filter(None, [tree_view.statistics(node)])
  title = f"{_escape(text)} ({', '.join(numbers)})"
  kind = "chosen" if node.chosen else "pruned" if node.pruned else "plain"
  verdict = {None: "", True: "✓", False: "✗"}[node.correct]
  inside, ink = verdict, _ink(node.thought_reward)
  beside = ""
  if node.visits > 1 and size >= _NUMBERED:
    inside, beside = str(node.visits), "✗" if verdict == "✗" else ""
  marks = _mark(inside, x, y + 3.5, ink)
  marks += _mark(beside, x + size + 4, y - size + 6, "#b04a05")
  shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"'
  if node.terminal:
    side = f'{2 * size:.1f}"'
    shape = f'<rect x="{x - size:.1f}" y="{y - size:.1f}" rx="2" '
    shape += f'width="{side} height="{side}'
  return (
    f'<a href="#{html.escape(identity)}-{index}"><title>{title}</title>'
    f'{shape} class="disc {kind}" '
    f'fill="{tree_view.score_color(node.thought_reward)}"/>{marks}</a>'
  )


def _mark(text: str, x: float, y: float, ink: str) -> str:
  """Returns a sign or number of the map, if there is one."""
  if not text:
    return ""
  return (
    f'<text class="mark" x="{x:.1f}" y="{y:.1f}" fill="{ink}">{text}</text>'
  )


def _legend() -> str:
  """Returns what colours and marks of the map mean."""
  stops = ", ".join(tree_view.score_color(i / 8) for i in range(9))
  return (
    '<p class="legend">PRM score 0 <span class="scale" style="background:'
    f'linear-gradient(to right, {stops})"></span> 1'
    " · number, size, wide line: visits · dark line: likely under the policy"
    " · bold: the chosen path · dashed: pruned · square: a complete solution"
    " · ✓ right, ✗ wrong · in a block: siblings that nothing follows · point"
    " at one to read its thought, click to find it below</p>"
  )
