"""The REST service: the same searches over HTTP, our page, and Optuna's dashboard behind the same door."""
