"""A live source in the loop: its thread, changes above the noise, flat colours, blend with the strokes."""
