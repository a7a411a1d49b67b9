"""The processes that do the heavy or crash-prone work, and what they share."""
