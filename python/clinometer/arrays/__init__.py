"""Arrays and frames of other libraries as NumPy arrays, with their names, labels and what is missing."""
