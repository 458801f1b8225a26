"""Tasks, workers and queues of Celery, in the metrics system you already use."""
