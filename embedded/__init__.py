"""How the embedded model is made: a closed little world of text, a tokenizer, a trainer, an evaluation.

Apart from the package: nothing here is needed to use the shipped weights. `python -m embedded` runs all of it.
"""
