"""``python -m fastvd``: the command line."""

import sys

from fastvd.cli import main

if __name__ == "__main__":
    sys.exit(main())
