"""From a name, a folder or a file to a loaded model: hub, components, memory estimate."""
