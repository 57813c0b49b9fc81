-- What every two labelers say of the documents that both labelled, counted: from this table all agreement is computed.
{{ cuvee.label_pairs(ref('corpus_labels')) }}
