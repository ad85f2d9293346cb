"""`python -m wordbrush` is the command `wordbrush`."""

import sys

from wordbrush.cli import main

if __name__ == "__main__":
    sys.exit(main())
