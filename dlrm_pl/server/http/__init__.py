"""The HTTP side: connections and their limits, bodies, tokens, routes, logs and metrics."""
