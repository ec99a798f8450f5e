"""MLflow: runs, versions and aliases of registered models, the ledger of decisions, and the gate."""
