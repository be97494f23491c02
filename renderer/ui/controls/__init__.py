"""The controls beside and under the panes: tools, sliders, palette, dialogs."""
