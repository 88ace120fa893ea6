"""The Celery broker, which wakes workers up."""
