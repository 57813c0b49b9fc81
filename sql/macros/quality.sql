{#  quality_filter(signals, scores, thresholds={}): Algorithm 1 of Essential-Web (arXiv 2506.14111, appendix A.2) as a
    query with one row per document of `signals`: doc_id, accepted, rejected_by, accepted_by.

    signals is a relation with the columns of quality_signals; scores has doc_id, english, maths, code (a document
    without a row, or with NULL, passes the clause and is not accepted by it). thresholds replaces single ones of those
    below, which are the published ones; null switches a clause off.

    First come the rules on length and repetition. What passes them is accepted at once if its score for mathematics or
    code is high; the rest must pass the remaining rules. rejected_by is the first clause that rejects.
#}
{%- macro quality_filter(signals, scores, thresholds={}) -%}
{%- set known = {
    'min_words': 50, 'max_top_2gram': 0.20, 'max_top_3gram': 0.18,
    'max_dupe_10grams': 0.50, 'max_dupe_9grams': 0.52, 'max_dupe_8grams': 0.54,
    'max_dupe_7grams': 0.56, 'max_dupe_6grams': 0.58, 'max_dupe_5grams': 0.60,
    'min_maths': 0.3, 'min_code': 0.3,
    'max_unique_words': 0.95, 'max_no_alph_words': 0.6, 'max_bad_words': 10, 'min_english': 0.6,
} -%}
{%- for name in thresholds if name not in known -%}
    {{ exceptions.raise_compiler_error("quality_filter has no threshold " ~ name ~ "; known: " ~ known | join(", ")) }}
{%- endfor -%}
{%- do known.update(thresholds) -%}
{%- set first = [
    ('min_words', 'signals.rps_doc_word_count', '<'),
    ('max_top_2gram', 'signals.rps_doc_frac_chars_top_2gram', '>'),
    ('max_top_3gram', 'signals.rps_doc_frac_chars_top_3gram', '>'),
    ('max_dupe_10grams', 'signals.rps_doc_frac_chars_dupe_10grams', '>'),
    ('max_dupe_9grams', 'signals.rps_doc_frac_chars_dupe_9grams', '>'),
    ('max_dupe_8grams', 'signals.rps_doc_frac_chars_dupe_8grams', '>'),
    ('max_dupe_7grams', 'signals.rps_doc_frac_chars_dupe_7grams', '>'),
    ('max_dupe_6grams', 'signals.rps_doc_frac_chars_dupe_6grams', '>'),
    ('max_dupe_5grams', 'signals.rps_doc_frac_chars_dupe_5grams', '>'),
] -%}
{%- set second = [('min_maths', 'scores.maths', '>'), ('min_code', 'scores.code', '>')] -%}
{%- set third = [
    ('max_unique_words', 'signals.rps_doc_frac_unique_words', '>'),
    ('max_no_alph_words', 'signals.rps_doc_frac_no_alph_words', '>'),
    ('max_bad_words', 'signals.rps_doc_ldnoobw_words', '>'),
    ('min_english', 'scores.english', '<'),
] -%}
select
    doc_id,
    rejected_by is null as accepted,
    rejected_by,
    case when rejected_by is null then accepted_by end as accepted_by
from (
    select
        signals.doc_id,
        case
            {%- for name, column, sign in second if known[name] is not none %}
            when {{ column }} {{ sign }} {{ known[name] }} then '{{ name | replace('min_', '') }}'
            {%- endfor %}
            when false then ''
        end as accepted_by,
        case
            {%- for name, column, sign in first if known[name] is not none %}
            when {{ column }} {{ sign }} {{ known[name] }} then '{{ name }}'
            {%- endfor %}
            {%- for name, column, sign in second if known[name] is not none %}
            when {{ column }} {{ sign }} {{ known[name] }} then null
            {%- endfor %}
            {%- for name, column, sign in third if known[name] is not none %}
            when {{ column }} {{ sign }} {{ known[name] }} then '{{ name }}'
            {%- endfor %}
            when false then ''
        end as rejected_by
    from {{ signals }} as signals
    left join {{ scores }} as scores on scores.doc_id = signals.doc_id
) as judged
{%- endmacro -%}
