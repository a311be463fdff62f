"""The run as a whole: rig file, session folder, supervisor, pose recorder, subscribers and command line."""
