-- Some documents of every primary label, drawn by a hash (var samples_per_label).
select found.*, named.label
from (
    {{ label_samples(ref('current_labels'), var('samples_per_label'), var('seed')) }}
) as found
left join {{ facet_labels() }} as named on named.category = found.category and named.code = found.code
