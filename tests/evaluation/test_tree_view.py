import math

import pytest

from reasoning_rl.evaluation import results, tree_view

Node = tree_view.NodeView


def small_tree():
  """A root with a chosen branch that is right and another, deeper one."""
  nodes = (
    Node(-1, "", visits=5, chosen=True),
    Node(0, "b = 7", 0.9, 3, 0.8, 0.6, chosen=True),
    Node(0, "b = 8", 0.2, 1, 0.1, 0.4),
    Node(1, "c = 9", 0.8, terminal=True, chosen=True, correct=True),
    Node(1, "c = 1", 0.3, pruned=True),
    Node(2, "c = 2", 0.1, terminal=True, correct=False),
    Node(2, "c = 3", 0.1, terminal=True),
  )
  return tree_view.TreeView("a = 3. c = ?", "9", "beam", nodes)


def test_the_text_shows_the_chosen_path_and_counts_the_rest():
  assert tree_view.render_text(small_tree()).splitlines() == [
    "a = 3. c = ?  [beam]",
    "├── 0.90 b = 7  chosen · 3 visits · value 0.80 · prior 0.60",
    "│   ├── 0.80 c = 9  chosen · ✓ right",
    "│   └── 0.30 c = 1  pruned",
    "└── 0.20 b = 8  1 visit · value 0.10 · prior 0.40",
    "    └── … 2 more",
  ]


def test_many_siblings_that_nothing_follows_are_counted_in_the_text():
  nodes = [Node(-1, ""), Node(0, "goes on", chosen=True), Node(1, "on")]
  nodes += [Node(0, "no", i / 10, terminal=True) for i in range(8)]
  nodes[5] = Node(0, "yes", 0.4, terminal=True, correct=True)
  tree = tree_view.TreeView("p", "a", "m", tuple(nodes))
  lines = tree_view.render_text(tree).splitlines()
  assert len(lines) == 4
  assert lines[-1].endswith(
    "… 8 that nothing follows, PRM up to 0.70, 1 right answer"
  )
  assert len(tree_view.render_text(tree, full=True).splitlines()) == 11
  # What was visited again is shown, and 7 are not many.
  nodes[4] = Node(0, "again", 0.1, 2, terminal=True)
  tree = tree_view.TreeView("p", "a", "m", tuple(nodes))
  assert len(tree_view.render_text(tree).splitlines()) == 11


def test_the_full_text_shows_every_node():
  text = tree_view.render_text(small_tree(), full=True)
  assert "✗ wrong" in text and "c = 3  end" in text and "more" not in text
  assert len(text.splitlines()) == 7


def test_markup_and_control_characters_of_a_thought_do_nothing():
  nodes = (Node(-1, ""), Node(0, "[bold]x[/bold]\x1b[31m\nred\x00"))
  tree = tree_view.TreeView("p", "a", "m", nodes)
  text = tree_view.render_text(tree)
  assert "[bold]x[/bold]\N{REPLACEMENT CHARACTER}[31m⏎red" in text
  assert "\x1b" not in text and "\x00" not in text


def test_color_is_written_only_on_request():
  assert "\x1b[" in tree_view.render_text(small_tree(), color=True)
  assert "\x1b[" not in tree_view.render_text(small_tree())


def test_a_long_chain_of_thoughts_is_rendered():
  nodes = (Node(-1, ""), *(Node(i, "t", chosen=True) for i in range(250)))
  tree = tree_view.TreeView("p", "a", "m", nodes)
  text = tree_view.render_text(tree, width=1200)
  assert len(text.splitlines()) == 251


@pytest.mark.parametrize(
  "parents", [(), (0,), (-1, 1), (-1, 0, 2), (-1, -1), (-1, 0, 5)]
)
def test_nodes_that_make_no_tree_are_refused(parents):
  nodes = tuple(Node(parent, "t") for parent in parents)
  with pytest.raises(ValueError, match="root|parent must come before"):
    tree_view.TreeView("p", "a", "m", nodes)


def test_a_tree_comes_back_from_its_record():
  tree = small_tree()
  found = tree_view.from_record(results.to_plain(tree))
  assert math.isnan(found.nodes[0].value)
  assert found.nodes[0].correct is None
  assert found.nodes[1:3] == tree.nodes[1:3]
  assert results.to_plain(found) == results.to_plain(tree)


def test_scores_map_to_colors_from_orange_to_blue():
  assert tree_view.score_color(0.0) == "#c45a0a"
  assert tree_view.score_color(0.5) == "#dee2e6"
  assert tree_view.score_color(1.0) == "#1858a0"
  assert tree_view.score_color(7.0) == tree_view.score_color(1.0)
  assert tree_view.score_color(math.nan) == "#ffffff"
