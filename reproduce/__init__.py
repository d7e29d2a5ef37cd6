"""The paper's figures and tables, run again: sweeps, their results with provenance, the ledger."""
