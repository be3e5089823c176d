"""Write quantized tables in the formats of other libraries."""
