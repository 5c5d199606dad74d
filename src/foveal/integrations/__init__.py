"""Thin adapters to the tools of the field."""
