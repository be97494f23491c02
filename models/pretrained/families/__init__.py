"""Model families, one file each: how a picture becomes a latent, and how a step is predicted."""
