"""How a process reward model learns, and how its scores are combined."""
