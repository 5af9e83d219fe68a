"""Keywords that NumPy's functions take, or refuse, and so do fastbp's."""

from __future__ import annotations

from typing import Any

import numpy as np

COMMON: dict[str, dict[str, Any]] = {
    "none": {},
    "out is None": {"out": None},
    "a tuple": {"out": (None,)},
    "float64": {"dtype": np.float64},
    "float32": {"dtype": "f4"},
    "float16": {"dtype": "e"},
    "longdouble": {"dtype": np.longdouble},
    "complex128": {"dtype": complex},
    "integers": {"dtype": "i4"},
    "safe": {"dtype": "f4", "casting": "safe"},
    "no": {"dtype": "f8", "casting": "no"},
    "unsafe": {"dtype": "f4", "casting": "unsafe"},
    "C": {"order": "C"},
    "F": {"order": "F"},
    "A": {"order": "A"},
    "no subclasses": {"subok": False},
    "unknown casting": {"casting": "maybe"},
    "unknown order": {"order": "Z"},
    "unknown": {"nonsense": 1},
    "not an array": {"out": [1.0]},
    "no entry": {"out": ()},
}
