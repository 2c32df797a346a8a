"""Search over thoughts, label them, learn from them, in JAX."""
