"""What a worker keeps on its own machine."""
