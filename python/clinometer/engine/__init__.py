"""From arguments to a population, a pass over the rows, and a result."""
