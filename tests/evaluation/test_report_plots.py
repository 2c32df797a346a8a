import matplotlib.image
import numpy as np
import pytest

from reasoning_rl.evaluation import report_plots

INTERVAL = {"mean": 0.4, "low": 0.3, "high": 0.5}
UNDEFINED = {"mean": None, "low": None, "high": None}


def curve(method, *points):
  return {
    "method": method,
    "points": [
      {"policy_tokens": x, "flops": 1e6 * x, "accuracy": y} for x, y in points
    ],
  }


def ink(path):
  """Returns how many pixels are not white, which an empty figure lacks."""
  pixels = matplotlib.image.imread(path)[..., :3]
  return int((pixels < 0.99).any(axis=-1).sum())


@pytest.fixture
def figure(monkeypatch):
  """Keeps the figure that is saved, to look at what was drawn."""
  kept = []
  save = report_plots._save

  def keep(figure, path):
    kept.append(figure)
    return save(figure, path)

  monkeypatch.setattr(report_plots, "_save", keep)
  return kept


def test_each_method_is_a_labelled_line_with_a_marker_of_its_own(
  tmp_path, figure
):
  curves = [curve(f"m{i}", (10, INTERVAL), (20, INTERVAL)) for i in range(9)]
  path = report_plots.accuracy_by_budget(tmp_path / "a.png", curves)
  [axes] = figure[0].axes
  lines = axes.get_lines()
  assert [line.get_label() for line in lines] == [f"m{i}" for i in range(9)]
  looks = {(x.get_color(), x.get_marker(), x.get_linestyle()) for x in lines}
  assert len(looks) == 9
  np.testing.assert_allclose(lines[0].get_xdata(), [10, 20])
  np.testing.assert_allclose(lines[0].get_ydata(), [40, 40])
  assert axes.get_xlabel() and axes.get_ylabel()
  assert ink(path) > 1000


def test_undefined_and_free_points_are_left_out(tmp_path, figure):
  curves = [curve("m", (10, UNDEFINED), (0, INTERVAL), (5, INTERVAL))]
  report_plots.accuracy_by_budget(tmp_path / "a.png", curves, "flops", "FLOPs")
  [line] = figure[0].axes[0].get_lines()
  np.testing.assert_allclose(line.get_xdata(), [5e6])


def test_a_figure_without_points_is_still_a_figure(tmp_path):
  curves = [curve("m", (10, UNDEFINED))]
  assert report_plots.accuracy_by_budget(tmp_path / "a.png", curves).exists()


def test_loop_stages_are_joined_and_baselines_are_hollow(tmp_path, figure):
  stages = [
    {"name": "warm-up", "role": "loop", "greedy_pass_at_1": INTERVAL},
    {"name": "loop 1", "role": "loop", "greedy_pass_at_1": INTERVAL},
    {"name": "more $steps$", "role": "baseline", "greedy_pass_at_1": INTERVAL},
  ]
  report_plots.loop_progress(tmp_path / "l.png", stages)
  [axes] = figure[0].axes
  faces = [
    line.get_markerfacecolor()
    for line in axes.get_lines()
    if line.get_marker() == "o"
  ]
  assert [face == "white" for face in faces] == [False, False, True]
  joined = axes.get_lines()[0]
  np.testing.assert_allclose(joined.get_xdata(), [40, 40])
  # Dollars are dollars, not mathematics.
  assert axes.get_yticklabels()[2].get_text() == r"more \$steps\$"


def test_the_reliability_diagram_shows_the_bins(tmp_path, figure):
  quality = {
    "name": "PRM",
    "reliability": [{"confidence": 0.2, "frequency": 0.3, "count": 5}],
    "roc": [[0, 0], [0.2, 0.9], [1, 1]],
  }
  report_plots.reward_model(tmp_path / "r.png", [quality])
  left, right = figure[0].axes
  np.testing.assert_allclose(left.get_lines()[1].get_xydata(), [[0.2, 0.3]])
  np.testing.assert_allclose(right.get_lines()[1].get_xydata(), quality["roc"])


def test_learning_curves_of_a_panel_share_its_axes(tmp_path, figure):
  curves = [
    report_plots.LearningCurve("loss", "one", (0, 1), (2.0, float("nan"))),
    report_plots.LearningCurve("loss", "two", (0, 1), (1.0, 0.5)),
    report_plots.LearningCurve("reward", "two", (0, 1), (0.1, 0.2), "tokens"),
  ]
  report_plots.learning_curves(tmp_path / "c.png", curves)
  loss, reward = figure[0].axes
  assert [line.get_label() for line in loss.get_lines()] == ["one", "two"]
  np.testing.assert_allclose(loss.get_lines()[0].get_xydata(), [[0, 2.0]])
  assert reward.get_xlabel() == "tokens"
  # The same label has the same colour in every panel.
  assert loss.get_lines()[1].get_color() == reward.get_lines()[0].get_color()
