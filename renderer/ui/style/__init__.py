"""Colours, fonts and icons of the user interface."""
