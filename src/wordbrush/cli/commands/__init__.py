"""The flags of each command, as dataclasses that import nothing heavy. See `wordbrush.cli.command`."""
