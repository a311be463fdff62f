"""The contract between processes: messages, sockets, control, clocks, keys, and the tables that they leave on disk."""
