"""From a network to tokens, thoughts and the children of a tree's leaves."""
