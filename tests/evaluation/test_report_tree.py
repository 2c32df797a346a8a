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
  middle = lambda left, right: pytest.approx((left + right) / 2, abs=0.11)
  assert at[2][0] == middle(at[3][0], at[4][0])
  assert at[0][0] == middle(at[1][0], at[2][0])
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


def wide(candidates=64):
  """A root with 64 candidates of which two go on; the last answers."""
  nodes = [Node(-1, "", visits=6, value=0.5, chosen=True)]
  nodes += [
    Node(0, f"a{i}", i / candidates, prior=1 / candidates, pruned=i > 1)
    for i in range(candidates)
  ]
  for parent in (1, 2):
    nodes += [Node(parent, f"b{i}", 0.5, terminal=True) for i in range(3)]
  nodes.append(
    Node(2, "c", 0.9, 2, 0.9, terminal=True, correct=True, chosen=True)
  )
  return nodes


def test_many_endings_are_folded_and_keep_their_lines():
  fragment = render(*wide())
  outline = fragment[fragment.index('class="outline"') :]
  assert sorted(map(int, re.findall(r'id="t-(\d+)"', outline))) == list(
    range(72)
  )
  summary = "62 that nothing follows, PRM up to 0.98, 0 right answers"
  rest = outline[outline.index('class="node rest"') :]
  assert rest.startswith(f'class="node rest"><summary>{summary}</summary>')
  assert [f'id="t-{i}"' in rest for i in (1, 2, 3, 64)] == [0, 0, 1, 1]
  assert "nothing follows, PRM" not in render(*wide(9)[:10]).split("outline")[0]


def test_a_wide_map_stands_in_a_block_with_one_line():
  fragment = render(*wide())
  size = re.search(r'<svg[^>]* width="(\d+)" height="(\d+)"', fragment)
  assert int(size[1]) < 260 and int(size[2]) < 260
  # 71 thoughts, of which 62 share one line.
  assert fragment.count("<path") == 10
  assert fragment.count('class="disc') == 72
  assert len(fragment) / 72 < 700


def test_numbers_stand_in_columns_those_that_there_are():
  heads = lambda fragment: re.findall(
    r"<i>([a-z]+)</i>", fragment[fragment.index('class="heads"') :]
  )
  assert heads(render(*wide())) == ["visits", "value", "prior"]
  assert heads(render(Node(-1, ""), Node(0, "x", 0.5))) == []
  fragment = render(Node(-1, "", visits=3), Node(0, "x", 0.5, 2), Node(0, "y"))
  assert heads(fragment) == ["visits"]
  cells = re.findall(r'class="cells"><i>(.*?)</i></span>', fragment)
  assert cells == ["visits", "3", "2", "–"]


def test_the_map_tells_what_is_complete_right_and_visited():
  fragment = render(
    Node(-1, "", visits=30),
    Node(0, "x", 0.5, 20, correct=False),
    Node(1, "y", 0.5, terminal=True, correct=True),
    Node(1, "z", 0.5),
  )
  marks = re.findall(r'class="mark"[^>]*>(.*?)</text>', fragment)
  assert marks == ["30", "20", "✗", "✓"]
  assert fragment.count("<rect") == 1
  # Nothing follows z, though it answers nothing and nobody pruned it.
  assert fragment.count("unfinished") == 1


def test_a_visited_line_is_wider_and_a_likely_one_darker():
  fragment = render(
    Node(-1, "", visits=9), Node(0, "a", visits=9, prior=0.9), Node(0, "b")
  )
  width = [float(x) for x in re.findall(r' stroke-width="([\d.]+)"', fragment)]
  dark = [float(x) for x in re.findall(r'stroke-opacity="([\d.]+)"', fragment)]
  assert width[0] > width[1] > 0 and dark[0] > dark[1] > 0
