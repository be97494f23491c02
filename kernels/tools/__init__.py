"""Developer tools for the ops: ahead-of-time compilation, launch counts and a benchmark."""
