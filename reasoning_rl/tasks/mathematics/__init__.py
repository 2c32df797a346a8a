"""Mathematics: what an answer is, where it stands, and whether it is right."""
