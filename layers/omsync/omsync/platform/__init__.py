"""What every use case stands on: settings, telemetry, queues, errors and the composition root."""
