"""What is put behind questions that do not say themselves how to answer. The wording is ours."""

LETTER = "Answer with the letter of the right option."
SHORT = "Answer with a single word, a number or a short phrase."
FORMULA = "Answer with the final result alone, as a number or a LaTeX formula."
