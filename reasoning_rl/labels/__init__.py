"""Rollouts or a search tree in, one label per thought out."""
