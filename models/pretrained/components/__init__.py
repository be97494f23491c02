"""Components of a frame beside the denoiser: autoencoder, prompt cache, schedule, LoRA, ControlNet."""
