"""Made-up searches, trials and reports, and references for quantization."""
