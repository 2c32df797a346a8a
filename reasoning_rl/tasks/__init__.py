"""Problems, how they are verified, and exact oracles to measure with."""
