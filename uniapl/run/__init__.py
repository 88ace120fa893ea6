"""The contract between a launcher and its trainer: configuration, reports, manifests, signals, exit statuses."""
