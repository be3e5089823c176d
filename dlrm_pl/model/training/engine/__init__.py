"""Choice of the code that trains a model, native or torch's, and the native one behind a LightningModule."""
