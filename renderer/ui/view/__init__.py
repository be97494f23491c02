"""Window layout, view transform, and the panes that show paper and picture."""
