"""`python -m fastbp.cli` is the `fastbp` command."""

from fastbp.cli import main

if __name__ == "__main__":
    main()
