"""DLRM training: the LightningModule and its losses, and a sub-folder for each part of training."""
