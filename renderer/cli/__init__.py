"""Command-line interface: options, validation and reports of the commands."""
