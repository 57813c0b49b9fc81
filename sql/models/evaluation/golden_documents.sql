-- Documents that were found under a golden URL: known to be of their domain.
{{ cuvee.found_at(source('raw', 'occurrences'), ref('golden_urls')) }}
