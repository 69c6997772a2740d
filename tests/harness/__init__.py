"""Shared support of the tests that prove eventsrc from outside: checker, proxy, workers, load, applications."""
