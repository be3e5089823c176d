"""MLPerf inference on an artifact: the scenarios of ``mlcommons-loadgen``, MLPerf's samples, its accuracy log."""
