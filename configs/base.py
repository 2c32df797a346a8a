"""Every key there is, with its default, and its unit or reason.

The other configs change some of these and add none.
"""

import ml_collections

from . import text_tasks


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  """Returns the default config; `variant` must be empty."""
  if variant:
    raise ValueError(f"base.py has no variant {variant!r}.")
  config = ml_collections.ConfigDict()
  config.seed = 0  # Of everything: problems, parameters, sampling.
  _add_task(config)
  _add_networks(config)
  _add_learning(config)
  _add_search(config)
  _add_measuring(config)
  return config


def make_full(config: ml_collections.ConfigDict) -> None:
  """Asks for the full tables: every baseline, more problems, larger budgets."""
  config.loop.baselines = ("demonstrations", "rejection", "outcome")
  config.evaluate.problems = 500
  config.evaluate.validation_problems = 500
  config.evaluate.budgets = (1, 2, 4, 8, 16, 32, 64)


def _add_task(config):
  config.task = ml_collections.ConfigDict()
  # Or "countdown", "word_problems", "mental_arithmetic", "math", "choice",
  # "code", "champ", "gym", "jsonl"; its section counts.
  config.task.name = "arithmetic"
  config.task.arithmetic = ml_collections.ConfigDict(
    dict(
      modulus=10,  # Values are in [0, modulus).
      chain_length=4,  # Computations that the answer needs.
      distractors=2,  # Definitions that it does not need.
      operators="+-",  # Any of "+-*".
      bases=3,  # Constants stated by the prompt.
      asked=2,  # Results that make up the answer.
      misremembered=0.0,  # Share of sums the demonstrator is unsure of.
    )
  )
  config.task.countdown = ml_collections.ConfigDict(
    dict(
      numbers=4,  # Numbers to combine; all must be used.
      max_number=12,  # Largest given number.
      target_min=1,  # Smallest target.
      target_max=60,  # Largest target.
      max_value=99,  # Largest intermediate result.
    )
  )
  text_tasks.add(config)
  config.tokenizer = ml_collections.ConfigDict()
  # Or "sentencepiece"; or "huggingface", which pretrained models need.
  config.tokenizer.kind = "character"
  # SentencePiece model, "" trains one; or a folder, "" is the model's own.
  config.tokenizer.path = ""
  config.tokenizer.chat = ""  # Template of conversations; see data/chat.py.
  config.tokenizer.vocab_size = 64  # Of a trained SentencePiece model.
  config.data = ml_collections.ConfigDict()
  # Permute names that mean nothing, afresh at every supervised step.
  config.data.rename = True
  # A thought ends with: "newline", "paragraph" (two of them), "step" (the word
  # "Step" that begins a line) or "every-N" tokens, such as "every-32".
  config.data.thoughts = "newline"
  # Rising prompt sizes; problems are padded to the smallest that holds them, so
  # that long and short prompts have a program each. (): all to the longest.
  config.data.buckets = ()
  # Least common first tokens of all prompts that are computed once for all of
  # them, such as worked examples; 0: never.
  config.data.share_prefix = 32
  config.data.max_prompt_tokens = 0  # 0: the task's longest prompt.
  config.data.max_thought_tokens = 0  # 0: the task's longest thought, C.
  config.data.max_thoughts = 0  # 0: as many as the task's solutions take, T.
  config.data.max_completion_tokens = 0  # 0: the task's longest solution.


def _add_networks(config):
  config.model = ml_collections.ConfigDict(
    dict(
      # A pretrained model's folder, as scripts/fetch_model.py makes them. Its
      # sizes then stand for those of `network`; "": a network from nothing.
      path="",
      dtype="float32",  # Or "bfloat16", for accelerators.
    )
  )
  config.network = ml_collections.ConfigDict(
    dict(
      model_size=64,  # Residual width, D.
      num_layers=3,
      num_heads=4,  # Query heads, H.
      num_kv_heads=4,  # Key and value heads, J.
      head_size=16,  # K.
      mlp_size=192,  # Gated MLP width, F.
      position_kind="rope",  # Or "learned".
      rope_base=10_000.0,
      max_positions=256,  # Context: prompt and solution, tokens.
      tied_embedding=True,  # Language head = embedding, transposed.
      lora_rank=0,  # Of trained adapters on a frozen base; 0 trains all.
      lora_alpha=16.0,  # Adapters are scaled by this over their rank.
      lora_targets=("q", "k", "v", "out", "gate", "up", "down"),
      remat="none",  # Computed again backwards: or "dots", "full"; slower.
    )
  )
  config.mesh = ml_collections.ConfigDict(
    dict(
      data=-1,  # Devices along the batch; -1: all that are left.
      fsdp=1,  # Devices that parameters are split over.
      tensor=1,  # Devices that heads and the MLP are split over.
    )
  )
  config.sampling = ml_collections.ConfigDict(
    dict(
      temperature=1.0,  # 0 is greedy.
      top_k=0,  # 0 keeps all tokens.
      top_p=1.0,  # 1 keeps all tokens.
    )
  )
  # Of rollouts and of completions for labels; searches think as they like.
  config.thinking = ml_collections.ConfigDict(
    dict(
      end="",  # Text that ends thinking, such as "</think>"; "": no control.
      wait="Wait",  # Said instead of an end that comes too early.
      min_tokens=0,  # An end before so many tokens is too early.
      max_tokens=0,  # After so many tokens the end is inserted.
      max_waits=0,  # Most ends that are not let through.
    )
  )
  config.inputs = ml_collections.ConfigDict(
    dict(
      policy="",  # Checkpoint folder to start from; "": this workdir's newest.
      prm="",  # The same for the PRM, of the evaluation as well.
    )
  )


def _optimizer(learning_rate, warmup_steps, schedule, weight_decay=0.1):
  return ml_collections.ConfigDict(
    dict(
      learning_rate=learning_rate,  # Peak.
      warmup_steps=warmup_steps,  # Linear, from 0.
      schedule=schedule,  # "constant", "cosine" or "linear" decay.
      end_fraction=0.1,  # Last learning rate over the peak.
      b1=0.9,
      b2=0.98,
      weight_decay=weight_decay,  # On matrices.
      clip_norm=1.0,  # Global gradient norm.
    )
  )


def _add_learning(config):
  config.checkpoint_every = 200  # Steps between checkpoints of a learner.
  config.sft = ml_collections.ConfigDict()
  config.sft.demonstrations = 360  # Seed solutions; the oracle's only use.
  config.sft.batch_size = 64  # Demonstrations per step.
  config.sft.accumulate = 1  # Parts of a batch, one by one: less memory.
  config.sft.decay_steps = 1200  # The learning rate has decayed by then.
  config.sft.max_steps = 1800  # Upper limit of the warm-up.
  config.sft.validate_every = 100  # Steps between validations.
  config.sft.validation_problems = 512  # One sample each.
  config.sft.plateau_gain = 0.01  # Stop if the last fifth gained less.
  config.sft.min_steps = 1200  # Never stop before,
  config.sft.min_pass_at_1 = 0.05  # nor below this.
  config.sft.optimizer = _optimizer(5e-3, 100, "cosine", weight_decay=1.0)

  _add_reward_models(config)
  _add_policy_learning(config)


def _add_reward_models(config):
  config.collect = ml_collections.ConfigDict()
  config.collect.problems = 3072  # Training problems searched per iteration.
  # Of the last collection, for the reward models of test time; 0: as many. More
  # teach a PRM more if `prm.outcomes` has solutions without labels teach.
  config.collect.final_problems = 0
  config.collect.rollouts = 4  # Solutions per problem, G.
  config.collect.labelled = 3072  # Problems with one labelled solution.
  config.collect.label_rollouts = 4  # Completions per thought, N.
  config.collect.rows = 256  # Rows decoded at once; thousands on accelerators.

  config.prm = ml_collections.ConfigDict()
  config.prm.trunk = "separate"  # Or "shared": a head on the frozen policy.
  # What the PRM and the ORM read: "implicit" is a language model's own
  # log-probability of the solution, which begins as the policy's and so knows
  # what should have been said; "head" is two linear layers on the trunk.
  config.prm.kind = "implicit"
  # A head on a shared trunk also reads the policy's log-probabilities.
  config.prm.certainty = False
  config.prm.extra_layers = 0  # Of kind "head", on top of the policy's trunk.
  # "hard": some completion from here or later on is right; or "soft", the
  # share of right completions from here.
  config.prm.label = "hard"
  config.prm.until_first_error = False  # Drop labels after the first error.
  # Solutions without Monte-Carlo labels teach as well, the ORM too: each is one
  # completion of all of its prefixes, and its outcome their soft label.
  config.prm.outcomes = False
  # Whose solutions teach: those of "all" iterations, or of the "newest" alone.
  # A head on the policy learns worse with an older policy's beside its own.
  config.prm.iterations = "all"
  config.prm.aggregation = (
    "min"  # A solution's score: min, product, last, mean.
  )
  config.prm.steps = 100
  config.prm.orm_steps = 0  # Of the ORM; 0: as many.
  config.prm.batch_size = 128  # Solutions per step.
  config.prm.accumulate = 1  # As in sft.
  config.prm.optimizer = _optimizer(3e-3, 10, "cosine")


def _add_policy_learning(config):
  config.imitation = ml_collections.ConfigDict()
  # Per iteration, on right solutions found so far. Few, so that the policy
  # still errs and search has something to find; 80 teach it nearly everything.
  config.imitation.steps = 8
  config.imitation.batch_size = 256  # Solutions per step.
  config.imitation.accumulate = 1  # As in sft.
  config.imitation.optimizer = _optimizer(2e-3, 5, "cosine", weight_decay=1.0)

  config.rl = ml_collections.ConfigDict()
  config.rl.steps = 20  # Updates per iteration.
  config.rl.problems_per_step = 32  # Fresh problems per update.
  config.rl.rollouts = 8  # Per problem, G.
  config.rl.credit = ml_collections.ConfigDict(
    dict(
      kind="pure",  # "pure", "process", "outcome" or "rejection".
      alpha=0.1,  # Weight of the process part beside the outcome part.
      tau=0.1,  # Temperature of the min-form weights.
      baseline="thought",  # Or "total": see rl/advantages.py.
      normalize_std=True,  # Divide by the group's standard deviation.
    )
  )
  config.rl.loss = ml_collections.ConfigDict(
    dict(
      clip_low=0.2,  # Ratio at least 1 - this.
      clip_high=0.2,  # Ratio at most 1 + this.
      kl_coefficient=0.0,  # Weight of the KL to the stage's first policy.
      kl_sequential=False,  # True: exact for whole sequences; more variance.
      normalization="token",  # Or "sequence", "constant".
      constant_length=0,  # Tokens, for "constant".
    )
  )
  config.rl.updates_per_batch = 1  # Updates from one batch of rollouts.
  config.rl.accumulate = 1  # As in sft, of its problems.
  config.rl.optimizer = _optimizer(1e-4, 5, "cosine")

  config.loop = ml_collections.ConfigDict()
  config.loop.iterations = 2  # Collect, PRM, policy.
  config.loop.orm = True  # Train an ORM too, to compare the PRM with.
  # See pipelines/baselines.py.
  config.loop.baselines = ("demonstrations", "rejection", "outcome")


def _add_search(config):
  config.search = ml_collections.ConfigDict(
    dict(
      beam_candidates=8,  # Thoughts per expanded node of a beam search, A.
      mcts_candidates=8,  # Least of a tree search; a large budget takes more.
      beam_stretch=1.0,  # Widens beams whose nodes cost less than A thoughts.
      draw="distinct",  # Or "merged": independent, equal ones made one.
      top_p=1.0,  # Nucleus of a thought's tokens; 1 keeps all.
      leaves_per_pass=1,  # Leaves per tree per MCTS pass, S.
      aggregation="last",  # Beam score of a partial solution.
      # λ: beams rank by P^λ · score^(1 − λ), P the path's probability.
      likelihood=0.0,
      lookahead=1,  # Thoughts rolled out before a beam is scored, k.
      rebase_temperature=0.1,  # Of REBASE's softmax over scores, T_b.
      particle_temperature=1.0,  # Of the particles' softmax over log-odds.
      prune_score=0.1,  # Tree of Thoughts drops thoughts scored below.
      pb_c_init=1.25,  # PUCT exploration.
      uct_constant=1.0,  # UCT exploration.
      skip_exhausted=True,  # Visit a complete solution once only.
      # Mixes every value with its opposite, e: (1 − e) v + e (1 − v). Only to
      # show what a miscalibrated value does to a search.
      value_error=0.0,
      stop_score=2.0,  # Stop at a solution scored as much; above 1: never.
      lanes=0,  # Rows per problem decoded at once; 0: all. Not of "distinct".
      pool_mebibytes=512,  # Keys and values held at once; more problems wait.
      value_kind="score",  # Of an unvisited child; or "siblings", as mctx.
    )
  )


def _add_measuring(config):
  config.preflight = ml_collections.ConfigDict(
    dict(
      # Prompts to compare first, as "ended:4" or "chat:0" (prompt_style and
      # shots), of a task that asks in words.
      prompts=(),
      problems=64,  # Validation problems, all different.
      rollouts=8,  # Samples of each: a group, G.
      min_mixed=0.2,  # Least share of groups with right and wrong samples.
      max_truncated=0.2,  # Largest share of samples that find no end.
      max_unparsed=0.3,  # Largest share that ends without a final answer.
    )
  )
  config.reproduce = ml_collections.ConfigDict()
  config.reproduce.seeds = (0, 1, 2)  # Of scripts/reproduce.py.
  config.evaluate = ml_collections.ConfigDict(
    dict(
      problems=200,  # Held-out problems, all different,
      first_problem=40_000,  # from here on: earlier ones were seen in tuning.
      samples=8,  # Of each problem, for sampled pass@1; 0: none.
      budgets=(1, 2, 4, 8, 16),  # Samples' worth of tokens; (): greedy alone.
      methods=("beam", "mcts"),  # Searches, beside sampling; see README.
      # What a search answers: its best-scored solution's answer, or by "vote"
      # the one with the largest sum of score times probability. For short
      # solutions: of long ones the likeliest alone would count.
      search_answer="best",
      # Of `search.value_error`: "mcts" and "gumbel" are measured with each, by
      # the answer they visit most.
      value_errors=(),
      # Rising caps of thinking at which greedy accuracy is measured; they need
      # `thinking.end`. (): not measured.
      thinking_budgets=(),
      validation_problems=200,  # For what is chosen on validation.
      trees=3,  # Search trees drawn in the report.
      rows=256,  # Rows decoded at once; thousands on an accelerator.
    )
  )
