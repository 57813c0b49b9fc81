-- RedPajama-V2's signals about each document. They are stored under the text's id, so they are computed once.
{{ config(materialized='incremental', incremental_strategy='append', tags=['cuvee_function']) }}
with measured as (
    select d.doc_id, quality_signals(d.text) as signals
    from {{ source('raw', 'documents') }} as d
    {%- if is_incremental() %}
    where d.doc_id not in (select doc_id from {{ this }})
    {%- endif %}
)

select
    doc_id,
    signals.rps_doc_word_count,
    signals.rps_doc_mean_word_length,
    signals.rps_doc_num_sentences,
    signals.rps_doc_frac_unique_words,
    signals.rps_doc_unigram_entropy,
    signals.rps_doc_stop_word_fraction,
    signals.rps_doc_frac_all_caps_words,
    signals.rps_doc_frac_no_alph_words,
    signals.rps_doc_symbol_to_word_ratio,
    signals.rps_doc_frac_lines_end_with_ellipsis,
    signals.rps_doc_curly_bracket,
    signals.rps_doc_lorem_ipsum,
    signals.rps_doc_ldnoobw_words,
    signals.rps_doc_frac_chars_top_2gram,
    signals.rps_doc_frac_chars_top_3gram,
    signals.rps_doc_frac_chars_top_4gram,
    signals.rps_doc_frac_chars_dupe_5grams,
    signals.rps_doc_frac_chars_dupe_6grams,
    signals.rps_doc_frac_chars_dupe_7grams,
    signals.rps_doc_frac_chars_dupe_8grams,
    signals.rps_doc_frac_chars_dupe_9grams,
    signals.rps_doc_frac_chars_dupe_10grams
from measured
