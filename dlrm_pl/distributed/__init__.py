"""Training on several processes or machines, with the tables sharded between them by TorchRec."""
