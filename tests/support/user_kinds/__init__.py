"""User models of many kinds, and the contract that holds for all of them."""
