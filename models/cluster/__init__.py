"""Work on more than one machine, on Ray: replays, training, and a model that others paint with."""
