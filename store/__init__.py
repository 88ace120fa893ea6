"""What api and worker agree on: settings, tables, the state machine, paths."""
