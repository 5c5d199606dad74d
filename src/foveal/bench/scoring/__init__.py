"""Rules that score an answer of a benchmark: plain functions from answer and question to a score, or None."""
