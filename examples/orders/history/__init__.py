"""What `examples/orders/app.py` was in its first and second version: kept to write history as they did, never to be changed."""
