import base64
import hashlib
import html.parser
import re

import pytest

from reasoning_rl.evaluation import (
  accounting,
  bootstrap,
  report,
  report_plots,
  report_text,
  results,
  reward_quality,
  tree_view,
)

HOSTILE = '</summary><script>alert(1)</script><img src="x" onerror=\'y\'>&"'
INTERVAL = bootstrap.Interval(0.4, 0.3, 0.5)
VOID = {"meta", "img", "br", "circle", "path"}


class Page(html.parser.HTMLParser):
  """Collects the tags of a page and checks that they are nested."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.open = [], []
    self.feed(text)
    self.close()

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def hostile_results():
  """Results in which every text that could come from outside is hostile."""
  quality = reward_quality.RewardQuality(
    name=HOSTILE,
    solutions=4,
    thoughts=9,
    auroc=INTERVAL,
    first_error_f1=INTERVAL,
    first_error_threshold=0.5,
    erroneous_accuracy=0.4,
    correct_accuracy=float("nan"),
    calibration_error=INTERVAL,
    reliability=(reward_quality.ReliabilityBin(0.2, 0.3, 9),),
    roc=((0.0, 0.0), (1.0, 1.0)),
  )
  stages = [
    {"name": name, "role": "loop", "greedy_pass_at_1": INTERVAL}
    for name in (HOSTILE, "loop 1")
  ]
  point = results.curve_point(4, INTERVAL, accounting.Cost(62, 31, 5e6, 2048))
  comparisons = [
    results.comparison(HOSTILE, "b", bootstrap.Difference(0.07, low, high))
    for low, high in ((0.01, 0.1), (-0.01, 0.1), (-0.1, -0.01))
  ]
  return {
    "schema": 1,
    "task": HOSTILE,
    "commit": HOSTILE,
    "config_hash": HOSTILE,
    "command": HOSTILE,
    "hardware": results.hardware() | {"processor": HOSTILE},
    "seeds": [0, 1],
    "heldout_problems": 20,
    "seconds": 500.0,
    "notes": [HOSTILE],
    "stages": stages,
    "curves": [{"method": HOSTILE, "points": [point]}],
    "prm_quality": [quality],
    "comparisons": comparisons,
    "trees": [hostile_tree()],
  }


def hostile_tree():
  nodes = (
    tree_view.NodeView(-1, "", chosen=True),
    tree_view.NodeView(0, HOSTILE, 0.9, 3, 0.5, 0.2, chosen=True),
    tree_view.NodeView(1, "=7", 0.8, terminal=True, chosen=True, correct=True),
    tree_view.NodeView(0, HOSTILE, 0.1, pruned=True),
  )
  return tree_view.TreeView(HOSTILE, HOSTILE, HOSTILE, nodes)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  curves = [report_plots.LearningCurve(HOSTILE, HOSTILE, (0, 1), (1.0, 0.5))]
  directory = tmp_path_factory.mktemp("workdir") / "report"
  return report.write_report(directory, hostile_results(), (), curves)


@pytest.fixture(scope="module")
def page(written):
  return written.read_text(encoding="utf-8")


def test_the_page_needs_nothing_but_itself(page):
  assert "http://" not in page and "https://" not in page
  for tag, attributes in Page(page).tags:
    assert tag not in ("link", "iframe", "object", "base", "form")
    for name in ("src", "href", "action", "srcset", "xlink:href"):
      value = attributes.get(name) or "#"
      assert value.startswith(("#", "data:image/png;base64,"))
  assert "@import" not in page and "url(" not in page


def test_every_link_has_its_target(page):
  tags = Page(page).tags
  targets = [a["id"] for _, a in tags if "id" in a]
  links = [a["href"][1:] for _, a in tags if "href" in a]
  assert len(targets) == len(set(targets))
  assert links and set(links) <= set(targets)


def test_hostile_text_is_shown_and_never_run(page):
  parsed = Page(page)
  assert parsed.open == []  # What was smuggled in closed no element.
  tags = [tag for tag, _ in parsed.tags]
  assert tags.count("script") == 1
  assert not any(
    name.startswith("on")
    for _, attributes in parsed.tags
    for name in attributes
  )
  assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
  assert "alert(1)</script>" not in page


def test_the_policy_allows_the_pages_own_script_alone(page):
  [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert f"script-src 'sha256-{digest}'" in page
  assert "default-src 'none'" in page


def test_the_figures_lie_beside_the_page_and_inside_it(written, page):
  names = sorted(path.name for path in written.parent.iterdir())
  assert names == [
    "accuracy_by_flops.png",
    "accuracy_by_tokens.png",
    "index.html",
    "learning.png",
    "loop.png",
    "reward_model.png",
  ]
  for path in written.parent.glob("*.png"):
    assert base64.b64encode(path.read_bytes()).decode() in page


def test_orderings_are_told_in_words(page):
  assert 'class="badge holds">holds clearly<' in page
  assert 'class="badge open">not shown<' in page
  assert 'class="badge reversed">reversed<' in page
  assert "1 of 3" in page


def test_an_undefined_number_is_a_dash(page):
  assert '<td class="n">–</td>' in page


def test_the_tree_is_nested_and_its_chosen_path_unfolded(page):
  assert page.count("<circle") == 3 and page.count("<rect") == 1
  assert 'edge chosen"' in page and 'edge pruned"' in page
  folds = [a for tag, a in Page(page).tags if tag == "details"]
  # The tree itself, its root and the first thought of the chosen path.
  assert len(folds) == 3 and all("open" in fold for fold in folds)
  assert "✓ right" in page and "3 visits · value 0.50 · prior 0.20" in page


def test_a_run_with_nothing_measured_still_gives_a_page(tmp_path):
  record = hostile_results() | {
    "stages": [],
    "curves": [],
    "prm_quality": [],
    "comparisons": [],
    "trees": [],
  }
  path = report.write_report(tmp_path, record)
  assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
  assert Page(path.read_text(encoding="utf-8")).open == []


def test_thinking_has_a_section_where_it_was_measured(page, tmp_path):
  assert "thinking tokens" not in page
  points = [
    {
      "budget": b,
      "accuracy": INTERVAL,
      "thinking_tokens": t,
      "policy_tokens": 9,
    }
    for b, t in ((0, 0.0), (8, 5.5))
  ]
  curves = [{"method": HOSTILE, "points": points}]
  path = report.write_report(tmp_path, hostile_results() | {"thinking": curves})
  assert (tmp_path / "thinking.png").stat().st_size > 1000
  text = path.read_text(encoding="utf-8")
  assert Page(text).open == [] and 'id="thinking"' in text
  del points[0]["thinking_tokens"]
  with pytest.raises(ValueError, match="thinking_tokens"):
    report.write_report(tmp_path, hostile_results() | {"thinking": curves})


def test_results_off_the_schema_write_nothing(tmp_path):
  with pytest.raises(ValueError, match="lacks the key 'task'"):
    record = hostile_results()
    del record["task"]
    report.write_report(tmp_path / "report", record)
  assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
  ("found", "expected"),
  [
    (report_text.percent(0.4152), "41.5 %"),
    (report_text.number(None), "–"),
    (report_text.count(9876), "9,876"),
    (report_text.count(12_345), "12.3 k"),
    (report_text.count(4.56e12), "4.56 T"),
    (report_text.size(1536), "1.5 KiB"),
    (report_text.size(3 * 2**30), "3 GiB"),
    (report_text.seconds(0.0123), "12.3 ms"),
    (report_text.seconds(500), "8 min 20 s"),
    (
      report_text.interval({"mean": 0.4, "low": 0.35, "high": 0.451}),
      "40.0 % [35.0, 45.1]",
    ),
  ],
)
def test_numbers_are_worded(found, expected):
  assert found == expected


def test_the_best_search_is_one_that_chooses_an_answer():
  point = lambda mean: {
    "budget": 4,
    "accuracy": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1},
  }
  curves = [
    {"method": "pass@k", "points": [point(0.9)]},
    {"method": "majority vote", "points": [point(0.5), point(0.4)]},
  ]
  card = report._search_card(curves)
  assert "majority vote" in card
  assert "50.0" in card
