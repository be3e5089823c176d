"""Training DLRM: the LightningModule, losses, schedule and gradients."""
