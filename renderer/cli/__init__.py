"""Options, validation and reports of the commands."""
