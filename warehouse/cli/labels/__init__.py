"""Commands on labels: label, labels, batch, convert-gguf."""
