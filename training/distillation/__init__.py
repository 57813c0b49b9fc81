"""Distillation: a small labeler from the labels that another one has left in the lake."""
