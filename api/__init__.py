"""The HTTP front: takes jobs, puts them in the ledger, answers. Holds no model and no torch."""
