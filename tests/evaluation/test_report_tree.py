import re

import pytest

from reasoning_rl.evaluation import report_tree, tree_view

Node = tree_view.NodeView


def discs(fragment):
  """Returns (x, y) of the map's nodes by their index."""
  pattern = r'href="#t-(\d+)".*?cx="([\d.]+)" cy="([\d.]+)"'
  found = re.findall(pattern, fragment)
  return {int(i): (float(x), float(y)) for i, x, y in found}


def render(*nodes):
  return report_tree.render_html(tree_view.TreeView("p", "a", "m", nodes), "t")


def test_parents_stand_over_the_middle_of_their_children():
  fragment = render(
    Node(-1, ""), Node(0, "x"), Node(0, "y"), Node(2, "z"), Node(2, "w")
  )
  at = discs(fragment)
  assert at[2][0] == pytest.approx((at[3][0] + at[4][0]) / 2)
  assert at[0][0] == pytest.approx((at[1][0] + at[2][0]) / 2)
  assert at[0][1] < at[1][1] == at[2][1] < at[3][1] == at[4][1]


def test_leaves_never_share_a_place_and_branches_never_cross():
  # Expanded breadth first, so that indices and columns differ.
  nodes = [Node(-1, "")]
  for parent in range(66):
    nodes += [Node(parent, f"t{len(nodes)}")] * 3
  at = discs(render(*nodes))
  assert len(at) == len(nodes) == 199
  assert len(set(at.values())) == 199
  # On one level the children of a left node stand left of a right node's.
  rows = {}
  for i, (x, y) in at.items():
    rows.setdefault(y, []).append((x, i))
  for row in rows.values():
    parents = [at[nodes[i].parent][0] for _, i in sorted(row) if i]
    assert parents == sorted(parents)
  for i in range(2, len(nodes)):
    if nodes[i].parent == nodes[i - 1].parent:
      assert at[i - 1][0] < at[i][0]


def test_more_visits_make_a_larger_disc():
  fragment = render(
    Node(-1, "", visits=9), Node(0, "a", visits=4), Node(0, "b")
  )
  sizes = [float(size) for size in re.findall(r' r="([\d.]+)"', fragment)]
  assert sizes[0] > sizes[1] > sizes[2] > 0


def test_the_outline_nests_every_thought_under_its_parent():
  fragment = render(
    Node(-1, ""), Node(0, "x"), Node(1, "y", 0.5), Node(0, "z"), Node(1, "w")
  )
  outline = fragment[fragment.index('class="outline"') :]
  order = re.findall(r'id="t-(\d+)"', outline)
  assert order == ["0", "1", "2", "4", "3"]
  inside = outline[outline.index('id="t-1"') : outline.index('id="t-3"')]
  assert inside.count("</details>") == 1


def test_a_root_alone_and_a_long_chain_are_drawn():
  assert len(discs(render(Node(-1, "")))) == 1
  chain = (Node(-1, ""), *(Node(i, "t") for i in range(1500)))
  assert len(discs(render(*chain))) == 1501
