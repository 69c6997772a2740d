"""The bank behind HTTP: `app` is the service, `live` its read model of all accounts, `serve` the command that runs everything."""
