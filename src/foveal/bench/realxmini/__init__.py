"""realx-mini: an offline benchmark in RealX-Bench's form, generated from packaged real pictures and tables.

300 questions that are hard on perception, search and reasoning in every combination, over flags, logos, charts and
street scenes; documents and pictures to search in; a second split whose facts are edited; and an oracle that proves
which steps a question needs.
"""
