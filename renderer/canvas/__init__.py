"""The canvas, its layers and its edits. Every edit returns the Rect of the pixels that it changed."""
