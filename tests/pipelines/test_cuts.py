"""Free-form solutions cut into thoughts, against splits of their text."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reasoning_rl.data import boundaries, hf_tokenizer, thoughts, tokenizers
from reasoning_rl.pipelines import cuts

# As an instruction model writes: headings, lists, LaTeX, code, blank lines.
SOLUTION = r"""## Step 1: Read the problem
We need the sum of

- the first numbers
- the second numbers

Step 2: Compute.

$$
\frac{1}{2} + \frac{1}{2} = 1
$$

```python
x = 1

print(x)
```

Step 3: The answer is $\boxed{1}$."""


@pytest.fixture(name="tokenizer", params=["character", "byte-level"])
def fixture_tokenizer(request, tokenizer_folder):
  if request.param == "character":
    return tokenizers.CharacterTokenizer("".join(sorted(set(SOLUTION))))
  return hf_tokenizer.HuggingFaceTokenizer.from_file(tokenizer_folder)


def _thoughts(tokenizer, kind, text=SOLUTION):
  ids = [*tokenizer.encode(text), tokenizer.end_id]
  boundary = boundaries.boundary(tokenizer, kind)
  ends = cuts.ends(ids, boundary, (tokenizer.end_id,))
  starts = [0, *(end + 1 for end in ends)]
  assert starts[-1] == len(ids)
  parts = zip(starts, starts[1:], strict=False)
  return [tokenizer.decode(ids[a:b]) for a, b in parts]


def test_a_paragraph_is_what_stands_between_blank_lines(tokenizer):
  found = _thoughts(tokenizer, "paragraph")
  assert found == re.findall(r".*?(?:\n\n|\Z)", SOLUTION, re.DOTALL)[:-1]
  assert "- the first numbers\n- the second numbers\n\n" in found
  assert any(f.startswith("$$\n") and f.endswith("$$\n\n") for f in found)
  # The one that docs/thoughts.md warns of: a blank line inside the code.
  assert "```python\nx = 1\n\n" in found


def test_a_line_is_a_thought_wherever_it_stands(tokenizer):
  found = _thoughts(tokenizer, "newline")
  assert "".join(found) == SOLUTION
  assert all(text.endswith("\n") for text in found[:-1])
  lines = [text for text in SOLUTION.split("\n") if text]
  assert [text.strip("\n") for text in found if text.strip()] == lines


def test_a_blank_line_is_a_thought_of_its_own_unless_it_is_one_token(
  tokenizer,
):
  found = _thoughts(tokenizer, "newline", "1.\n\nx\n\n\nx")
  newlines = [len(tokenizer.encode(text)) for text in ("\n\nx", "\n\n\nx")]
  assert len(found) == 1 + sum(count - 1 for count in newlines)


def test_a_step_begins_after_the_word_that_opens_its_line(tokenizer):
  found = _thoughts(tokenizer, "step")
  assert found == re.split(r"(?<=\nStep)", SOLUTION)
  # The heading's "Step" does not begin its line, and is none.
  assert len(found) == 3 and found[0].startswith("## Step 1")


def test_every_n_has_n_tokens(tokenizer):
  ids = [*tokenizer.encode(SOLUTION), tokenizer.end_id]
  boundary = boundaries.boundary(tokenizer, "every-7")
  ends = cuts.ends(ids, boundary, (tokenizer.end_id,))
  sizes = np.diff([-1, *ends])
  assert (sizes[:-2] == 7).all() and sizes[-1] <= 8


@pytest.mark.parametrize("kind", ["newline", "paragraph", "step", "every-7"])
def test_padding_changes_nothing(tokenizer, kind):
  boundary = boundaries.boundary(tokenizer, kind)
  for text in (SOLUTION, SOLUTION[:90], "x", SOLUTION + "\n"):
    ids = [*tokenizer.encode(text), tokenizer.end_id]
    exact, count = thoughts.thought_spans(
      np.array([ids], np.int32),
      np.array([len(ids)], np.int32),
      boundary,
      (tokenizer.end_id,),
      len(ids),
    )
    found = cuts.ends(ids, boundary, (tokenizer.end_id,))
    assert found == np.asarray(exact)[0, : int(count[0])].tolist()
