"""What the servers share: settings, server, interceptors, health, overload, cache, telemetry, model bundles."""
