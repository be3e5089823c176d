"""Write large files directly from the memory that holds their contents."""
