"""Training DLRM: the LightningModule and its losses, and what it trains with in a sub-folder for each subject."""
