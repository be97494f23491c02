"""Windows and what is drawn in them, and how input events become actions."""
