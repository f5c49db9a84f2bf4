"""Public reads under races and faults: real servers broken, the product's processes asked over HTTP."""
