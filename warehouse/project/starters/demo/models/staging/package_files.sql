-- One row per place in an installed package where a text was found.
select
    doc_id,
    url,
    licence,
    metadata ->> 'package' as package,
    metadata ->> 'kind' as kind,
    {{ cuvee.held_out("metadata ->> 'package'", share=var('held_out_share'), seed=var('seed')) }} as held_out
from {{ source('raw', 'occurrences') }}
where metadata ->> 'package' is not null
