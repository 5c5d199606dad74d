"""Benchmarks: running, statistics, tables."""
