-- Which documents Essential-Web's filter accepts, and which rule rejects each of the others.
{{ cuvee.quality_filter(signals=ref('document_signals'), scores=ref('document_scores'), thresholds=var('quality_filter')) }}
