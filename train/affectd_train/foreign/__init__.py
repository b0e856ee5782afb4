"""Networks of others: recognized, turned into int8, checked, and packed. Imports `export` and what is below it."""
