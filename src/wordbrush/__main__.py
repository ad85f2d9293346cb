"""`python -m wordbrush` is the command `wordbrush`."""

from wordbrush.cli import run

if __name__ == "__main__":
    run()
