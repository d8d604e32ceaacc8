"""What workers and the driver tell each other while a training runs."""
