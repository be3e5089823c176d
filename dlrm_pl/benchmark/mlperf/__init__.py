"""MLPerf inference on an artifact: ``mlcommons-loadgen``'s scenarios, MLPerf's samples and its accuracy log."""
