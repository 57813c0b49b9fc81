-- Which labels of two categories go together, by primary labels.
{{ cuvee.category_cells(ref('corpus_labels')) }}
