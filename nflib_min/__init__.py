"""Normalizing flows for variational inference, one equation per function."""
