"""Programs that try fastbp for minutes where a test has seconds. They are run by hand:

    python -m tests.trials.NAME [ROUNDS]

from the repository's root. Each tries one thing many times, at moments that nobody chose, prints
what came of it, and ends with status 1 if anything went wrong. A failure is found again as a test
that takes no luck; what they count is evidence, not proof.
"""
