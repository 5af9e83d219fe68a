"""Whether two checkouts of fastbp compile to the same machine code, symbol names aside.

For moves and renames, which must not change what the CPU runs::

    python benchmarks/compare_code.py dump before.json      # in the one checkout
    python benchmarks/compare_code.py dump after.json       # in the other
    python benchmarks/compare_code.py compare before.json after.json

`dump` finds every region of ``fastbp.kernels``, compiles it anew and writes
down its assembly. `compare` replaces each symbol by its place in the order of appearance and pairs
equal codes; it ends with 1 and names what has no counterpart, if anything has none.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import importlib
import json
import os
import pkgutil
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

_DIRECTIVE = re.compile(r"\s*\.(file|ident|section|size|type|p2align|addrsig)")


def _without_names(assembly: str) -> str:
    """Assembly with names of functions and constants numbered as they appear; comments cut off."""
    lines = [line.split("#")[0].rstrip() for line in assembly.splitlines()]
    lines = [line for line in lines if line.strip() and not _DIRECTIVE.match(line)]
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match.group(), f"symbol{len(numbers)}")

    # Mangled names, and those of numba's constants and globals; not the labels of blocks.
    symbol = re.compile(r"(?:\.const\.|cfunc\.|_ZN|_ZTI|numba|NRT_|fastbp)[\w.$<>]*")
    return "\n".join(symbol.sub(number, line) for line in lines)


def regions() -> dict[str, Any]:
    """All regions, by a name that tells where they are."""
    import fastbp.kernels

    found: dict[str, Any] = {}
    seen: set[int] = set()
    for info in pkgutil.walk_packages(fastbp.kernels.__path__, "fastbp.kernels."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if type(value).__name__ == "Region" and id(value) not in seen:
                seen.add(id(value))
                found[f"{info.name}.{name}"] = value
    return found


def dump(path: Path) -> None:
    """Write the code of every region to a file."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = folder
        codes = {}
        for name, region in regions().items():
            region.address  # noqa: B018  (compiles)
            codes[name] = region._compiled._library.get_asm_str()
            print(f"{name}: {len(codes[name].splitlines())} lines", flush=True)
        path.write_text(json.dumps(codes))


def compare(before: Path, after: Path) -> int:
    """Pair equal codes; what is left over is printed."""
    left, right = (
        {name: _without_names(code) for name, code in json.loads(path.read_text()).items()}
        for path in (before, after)
    )
    by_code: dict[str, list[str]] = collections.defaultdict(list)
    for name, code in right.items():
        by_code[hashlib.sha256(code.encode()).hexdigest()].append(name)
    alone = []
    for name, code in left.items():
        twins = by_code[hashlib.sha256(code.encode()).hexdigest()]
        if twins:
            print(f"same code: {name} -> {twins.pop(0)}")
        else:
            alone.append(name)
    rest = [name for names in by_code.values() for name in names]
    for name in alone:
        print(f"only before: {name}")
    for name in rest:
        print(f"only after: {name}")
    return 1 if alone or rest else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["dump", "compare"])
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "dump":
        dump(arguments.files[0])
        return 0
    return compare(*arguments.files)


if __name__ == "__main__":
    sys.exit(main())
