"""Load a model from a name, a folder or a file: hub, components, memory estimate."""
