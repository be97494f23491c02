"""The race: live comparison of several models on the same strokes."""
