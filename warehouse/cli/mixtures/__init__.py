"""Commands on mixtures: mixture, export, tokenizer."""
