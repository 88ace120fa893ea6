"""Job rows: lifecycle, claims, events, metrics, forecasts."""
