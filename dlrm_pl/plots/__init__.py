"""`inspect --plot`: a dataset, an artifact or a checkpoint as a page or a picture, with the same figures."""
