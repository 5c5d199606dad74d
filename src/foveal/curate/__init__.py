"""Question sets: where training and evaluation get what they ask."""
