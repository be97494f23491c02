"""The race: models side by side, fed by the same strokes."""
