"""Picture files and the checks of output paths."""
