"""Long runs of a well-kept sampler: the answers that have no closed form, with their provenance."""
