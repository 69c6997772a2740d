"""Applications written with eventsrc's public API only."""
