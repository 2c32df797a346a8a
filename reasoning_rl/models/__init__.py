"""Networks as pure functions; the only importer of flax.linen."""
