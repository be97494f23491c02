"""The paper and its edits. Every edit is a value and returns the Rect that it changed."""
