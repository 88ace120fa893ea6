"""HTTP middleware: request ids, body limits, rate limits, errors, file responses."""
