"""HTTP layer: connections and their limits, bodies, tokens, routes, logs and metrics."""
