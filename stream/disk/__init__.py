"""Files that are written whole or not at all, tables that grow row by row, and locks."""
