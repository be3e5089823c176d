"""DLRM on PyTorch Lightning, from raw click logs to an int8 model whose loss of AUROC is certified."""
