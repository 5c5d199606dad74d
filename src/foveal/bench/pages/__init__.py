"""The page of benchmark runs: models side by side, every figure with its interval, every cell a link to its answers."""
