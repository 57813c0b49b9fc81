-- Which labels of two categories go together, by primary labels.
{{ category_cells(ref('current_labels')) }}
