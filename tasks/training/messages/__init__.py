"""Messages between workers and the driver while a training runs."""
