"""Work on videos and sessions that are there already: analyse, backfill."""
