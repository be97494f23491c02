"""Image file formats and checks of output paths."""
