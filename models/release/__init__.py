"""Pure parts of releasing a model: the ledger's rules, routing, guard, judge, retraining policy."""
