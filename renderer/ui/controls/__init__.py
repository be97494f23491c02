"""Controls beside and below the panes: tools, sliders, palette, dialogs."""
