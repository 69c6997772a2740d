"""Applications written with eventsrc. Every `app.py` of a pipeline uses its public API alone; what starts, loads and watches them
here also uses parts of it that are not public."""
