-- The documents that do quote a benchmark, one row per benchmark: what the Bloom filter found, compared word by word.
-- An item is quoted by the share of its words that are in n-grams of the document. The var contamination_min_share says
-- how large that share must be, contamination_allowed which benchmarks, items and documents do not count.
{% set allowed = var('contamination_allowed') %}
{% set smallest = var('contamination_min_share') %}
{% if smallest is not number or smallest < 0 or smallest > 1 %}
    {{ exceptions.raise_compiler_error("contamination_min_share is from 0 to 1, not " ~ smallest) }}
{% endif %}
{% if allowed is string or allowed is mapping or allowed is not iterable %}
    {{ exceptions.raise_compiler_error(
        "contamination_allowed is a list of names of benchmarks and doc_ids, not " ~ allowed) }}
{% endif %}
with passages as (
    select doc_id, unnest(passages) as passage, generate_subscripts(passages, 1) as number
    from {{ ref('document_contamination') }}
    where benchmark is not null
),

places as (
    select doc_id, passage, number, unnest(range(1, len(passage.words) - passage.n + 2)) as place
    from passages
),

quoted as (
    select
        doc_id,
        array_to_string(passage.words[place:place + passage.n - 1], ' ') as ngram,
        passage.positions[place] as position,
        passage.n,
        number,
        place
    from places
),

-- An n-gram that many items share says little about each: it counts for the first hundred.
known as (
    select distinct benchmark, doc_id as item, ngram
    from {{ ref('benchmark_ngrams') }}
    {% if allowed -%}
    where benchmark not in ({{ cuvee.literals(allowed) }}) and doc_id not in ({{ cuvee.literals(allowed) }})
    {% endif -%}
    qualify row_number() over (partition by benchmark, ngram order by doc_id) <= 100
),

-- Each n-gram of an item once, where it is first.
matched as (
    select q.doc_id, k.benchmark, k.item, q.ngram, q.position, q.n, q.number, q.place
    from quoted as q
    join known as k on k.ngram = q.ngram
    {% if allowed -%}
    where q.doc_id not in ({{ cuvee.literals(allowed) }})
    {% endif -%}
    qualify row_number() over (
        partition by q.doc_id, k.benchmark, k.item, q.ngram order by q.number, q.place
    ) = 1
),

-- N-grams overlap: each adds the words that the one before does not have.
added as (
    select
        *,
        least(n, coalesce(place - lag(place) over (partition by doc_id, benchmark, item, number order by place), n))
            as words
    from matched
),

items as (
    select a.doc_id, a.benchmark, a.item, least(1.0, sum(a.words) / any_value({{ cuvee.normalized_words('i.text') }})) as share
    from added as a
    join {{ ref('benchmark_items') }} as i on i.benchmark = a.benchmark and i.doc_id = a.item
    group by a.doc_id, a.benchmark, a.item
    having share >= {{ smallest }}
),

largest as (
    select
        doc_id,
        benchmark,
        max(share) as share,
        first(item order by share desc, item) as item
    from items
    group by doc_id, benchmark
)

select
    m.doc_id,
    m.benchmark,
    count(distinct q.position) as n_grams,
    min(q.position) as position,
    min_by(q.ngram, q.position) as ngram,
    any_value(l.item) as item,
    any_value(l.share) as share
from largest as l
join (
    select distinct doc_id, benchmark, ngram
    from matched
    semi join items using (doc_id, benchmark, item)
) as m on m.doc_id = l.doc_id and m.benchmark = l.benchmark
join quoted as q on q.doc_id = m.doc_id and q.ngram = m.ngram
group by m.doc_id, m.benchmark
