"""Names of the training stages, in order, for each of the two painters."""

STAGES = {
    "materials": ("data", "teacher", "reflow", "distil", "plan", "finish", "small", "evaluate", "export"),
    "colors": ("data", "teacher", "reflow", "distil", "finish", "diffusion", "evaluate", "export"),
}
