"""Networks and tokenizers: built, loaded, pruned, saved, and asked for the logits of targets.

Knows no recipe, no objective and no decoding. The modules are the door: importing this package
loads none of them, because each brings torch.
"""
