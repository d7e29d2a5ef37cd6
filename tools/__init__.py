"""Author's tools: `notebooks` pairs and runs them, `house` counts their style, `pages` is HTML."""
