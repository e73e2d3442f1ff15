"""Each module of the package alone, in the order of its tree."""
