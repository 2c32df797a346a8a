"""Policy learning: rewards to credit, credit to advantages, to a loss."""
