"""Training: meshes, optimizers, one train step, checkpoints and metrics.

Every learner of the project (supervised warm-up, PRM, ORM, policy) is one
`loss_fn(params, batch, rng) -> (loss, metrics)` handed to the same
`train_step.make_train_step`; nothing here knows what is being learnt.
"""
