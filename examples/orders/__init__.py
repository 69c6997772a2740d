"""A shop's orders, in the third version of their classes; `history` has the two before it."""
