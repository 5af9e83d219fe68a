"""Saves of a network that another thread trains meanwhile, 100 by default: can all be loaded?

python -m tests.trials.saves_during_fit [N]
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

import fastbp


def main() -> int:
    """Save as often as the command line says, and 1 if a file could not be loaded."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rng = np.random.default_rng(0)
    X = rng.random((2000, 3000), np.float32)
    y = (X[:, 0] > 0.5).astype(np.float32)
    network = fastbp.Network((3000, 64, 1), seed=0)
    network.fit(X, y, epochs=1)  # compiles
    done = threading.Event()

    class UntilDone:
        def on_epoch_end(self, *_: object) -> bool:
            return done.is_set()

    training = threading.Thread(
        target=network.fit, args=(X, y), kwargs={"epochs": 10**6, "callbacks": [UntilDone()]}
    )
    training.start()
    refused, different = [], set()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            for _ in range(count):
                network.save(path)
                try:
                    different.add(fastbp.load(path).weights[0].tobytes())
                except ValueError as error:
                    refused.append(str(error))
    finally:
        done.set()
        training.join()
    print(
        f"{count} saves during fit, {len(different)} of different weights; {len(refused)} refused"
    )
    print(*refused[:5], sep="\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
