"""The contract between processes: messages, sockets, control, jobs, clocks and keys."""
