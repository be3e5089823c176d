"""Write large files from where their contents lie in memory."""
