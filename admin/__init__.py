"""What an operator runs beside the service, with its settings: `uniapl admin …`."""
