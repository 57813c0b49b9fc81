-- What every two labelers say of the documents that both labelled, counted: from this table all agreement is computed.
{{ label_pairs(ref('current_labels')) }}
