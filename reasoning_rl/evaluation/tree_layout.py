"""Where the nodes of a search tree stand on its map, in pixels.

A tidy tree (Reingold and Tilford, Tidier drawings of trees, 1981): subtrees are
moved together until they nearly touch, a parent stands over the middle of its
first and last child, and branches never cross. Many siblings that nothing
follows would make any map too wide: they stand in a block of their own, beside
the siblings that go on.
"""

from __future__ import annotations

import dataclasses
import math

from reasoning_rl.evaluation import tree_view

SMALLEST, LARGEST = 6.0, 14.0  # Radii.
_GAP = 2.5  # Between two siblings.
_APART = 7.0  # More between two that are none, so that families are seen.
_STEP = 2 * SMALLEST + _GAP  # From disc to disc in a block.
_LEVEL = 30.0  # Between the rows of a level and the next level, at the least.


@dataclasses.dataclass(frozen=True)
class Layout:
  """A map.

  Attributes:
    x: Middle of each node's disc.
    y: Likewise.
    radius: Of each disc, by the node's visits; all alike in a block.
    edge_x: Where the line from the parent ends: over the node, or over the
      middle of its block; None for the other nodes of a block.
    width: Of the whole map.
    height: Likewise.
  """

  x: list[float]
  y: list[float]
  radius: list[float]
  edge_x: list[float | None]
  width: float
  height: float


def layout(tree: tree_view.TreeView) -> Layout:
  """Returns the place of every node; without recursion, for long chains."""
  children = tree_view.children_of(tree)
  count = len(tree.nodes)
  radius = _radii(tree)
  blocks = [tree_view.many_endings(tree, children, i) for i in range(count)]
  in_block = [False] * count
  for block in blocks:
    for node in block:
      in_block[node], radius[node] = True, SMALLEST
  shift = _shifts(children, blocks, radius, in_block)
  x, depth = [0.0] * count, [0] * count
  for node in range(1, count):
    parent = tree.nodes[node].parent
    x[node] = x[parent] + shift[node]
    depth[node] = depth[parent] + 1
  edge_x: list[float | None] = list(x)
  row = [0] * count
  rows_at = [1] * (max(depth) + 1)
  for block in blocks:
    rows, columns = _grid(len(block))
    for place, node in enumerate(block):
      # A block's nodes share one shift: that of its middle.
      x[node] += (place % columns - (columns - 1) / 2) * _STEP
      row[node] = place // columns
      edge_x[node] = None if place else edge_x[node]
      rows_at[depth[node]] = max(rows_at[depth[node]], rows)
  top = [LARGEST + 4.0]
  for rows in rows_at[:-1]:
    top.append(top[-1] + (rows - 1) * _STEP + _LEVEL + 2 * SMALLEST)
  left = min(a - r for a, r in zip(x, radius, strict=True)) - 4.0
  right = max(a + r for a, r in zip(x, radius, strict=True)) + 4.0
  return Layout(
    x=[a - left for a in x],
    y=[top[d] + k * _STEP for d, k in zip(depth, row, strict=True)],
    radius=radius,
    edge_x=[None if a is None else a - left for a in edge_x],
    width=right - left,
    height=top[-1] + (rows_at[-1] - 1) * _STEP + LARGEST + 4.0,
  )


def _radii(tree) -> list[float]:
  """Returns discs whose size grows with the root of the visits."""
  most = max(1, *(node.visits for node in tree.nodes))
  share = lambda node: math.sqrt(node.visits / most)
  return [SMALLEST + (LARGEST - SMALLEST) * share(n) for n in tree.nodes]


def _grid(count: int) -> tuple[int, int]:
  """Returns rows and columns of a block, about as tall as wide."""
  rows = max(1, math.isqrt(count))
  return rows, -(-count // rows)


class _Outline:
  """The left and right edge of a subtree at each of its levels.

  The topmost level stands last, and all edges are relative to `base`, so that a
  parent is put on top, and a subtree moved, without touching the others.
  """

  def __init__(self, half_width: float):
    self.base = 0.0
    self.left = [-half_width]
    self.right = [half_width]

  def put_on_top(self, half_width: float, at: float) -> None:
    """Puts a node over the subtree and counts from there."""
    self.base -= at
    self.left.append(-half_width - self.base)
    self.right.append(half_width - self.base)


def _beside(first: _Outline, second: _Outline) -> tuple[_Outline, float]:
  """Moves `second` to the right of `first`; returns both, and how far."""
  shared = range(-1, -min(len(first.left), len(second.left)) - 1, -1)
  shift = max(
    first.right[k] - second.left[k] + (_APART if k < -1 else 0.0)
    for k in shared
  )
  shift += first.base - second.base
  if len(first.left) >= len(second.left):
    for k in shared:
      first.right[k] = second.right[k] + second.base + shift - first.base
    return first, shift
  second.base += shift
  for k in shared:
    second.left[k] = first.left[k] + first.base - second.base
  return second, shift


def _shifts(children, blocks, radius, in_block) -> list[float]:
  """Returns how far right of its parent each node, or its block, stands."""
  shift = [0.0] * len(children)
  outlines: list[_Outline | None] = [None] * len(children)
  half = lambda node: radius[node] + _GAP / 2
  # A parent stands before its children: backwards, every child is ready.
  for node in range(len(children) - 1, -1, -1):
    parts = [
      ([child], outlines[child])
      for child in children[node]
      if not in_block[child]
    ]
    if blocks[node]:
      columns = _grid(len(blocks[node]))[1]
      parts.append((blocks[node], _Outline((columns + 1) * _STEP / 2)))
    if not parts:
      outlines[node] = _Outline(half(node))
      continue
    places, joined = [0.0], parts[0][1]
    for _, outline in parts[1:]:
      joined, place = _beside(joined, outline)
      places.append(place)
    middle = (places[0] + places[-1]) / 2
    for (members, _), place in zip(parts, places, strict=True):
      for member in members:
        shift[member] = place - middle
    joined.put_on_top(half(node), middle)
    outlines[node] = joined
    for child in children[node]:
      outlines[child] = None
  return shift
