"""Models and tokenizers: building, loading, pruning, saving, and logits of target tokens.

This package depends on neither recipes, objectives nor decodings. Import its modules directly: importing the package
loads none of them, because each imports torch.
"""
