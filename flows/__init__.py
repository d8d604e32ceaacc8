"""What runs, in which order and when: the only package that imports Prefect."""
