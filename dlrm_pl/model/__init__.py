"""DLRM and its LightningModule."""
