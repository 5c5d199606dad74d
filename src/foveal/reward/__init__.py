"""Rewards: plain functions from a trajectory to named parts."""
