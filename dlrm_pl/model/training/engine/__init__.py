"""Choice of the code that trains a model, native or torch's, and the native engine of a LightningModule."""
