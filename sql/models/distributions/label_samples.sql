-- Some documents of every primary label, drawn by a hash (var samples_per_label).
select found.*, named.label
from (
    {{ cuvee.label_samples(ref('corpus_labels'), var('samples_per_label'), var('seed')) }}
) as found
left join {{ cuvee.facet_labels() }} as named on named.category = found.category and named.code = found.code
