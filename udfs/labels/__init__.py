"""The function ``label_document``: labels of a taxonomy for each text, by the labeler that is named.

Goes in: texts. Comes out: one struct (primary, secondary) for each category. Main names:
``label_document.LabelDocument``, ``spec.Spec``, ``labeler.Labeler``.
"""
