//! Verdicts as they come, readable: the reading side of the contract.
