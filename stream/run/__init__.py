"""A run: the supervisor, the processes that it starts, the pose recorder, and what a person sees of it."""
