"""Live video sources: reader thread, change detection, colour flattening, blending with the strokes."""
