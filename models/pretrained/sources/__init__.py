"""Where a pretrained model comes from: the catalogue, the hub, a folder, a single file."""
