"""Random trainings by scikit-learn's MLP and by fastbp's, one after another.

    python -m tests.trials.estimators [trainings] [first seed]    (2,000, in some ten minutes)

Coefficients must be within 1e-7 of each other, and epochs, samples and curves the same; but for
trainings whose end depends on the last bits of X by as much, in scikit-learn itself.
"""

from __future__ import annotations

import sys
from collections import Counter

from tests.estimator_trials import difference, draw, is_chaotic


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    kinds: Counter[str] = Counter()
    failed = chaotic = 0
    for seed in range(first, first + rounds):
        trial = draw(seed)
        kinds[f"{trial.kind}, {trial.parameters['solver']}"] += 1
        found = difference(trial)
        if found is not None and is_chaotic(trial):
            chaotic += 1
        elif found is not None:
            failed += 1
            print(f"seed {seed}: {found}\n    {trial}", flush=True)
    print(f"{rounds} trainings: {failed} differ, {chaotic} more depend on the last bits of X")
    print(dict(sorted(kinds.items())))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
