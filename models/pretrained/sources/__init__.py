"""Sources of pretrained models: the catalogue, the hub, a folder, a single file."""
