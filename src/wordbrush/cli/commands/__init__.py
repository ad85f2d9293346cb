"""What each command takes: dataclasses of flags, which import nothing heavy. See `wordbrush.cli.command`."""
