-- Quality signals that came with documents, as numbers: they are read from JSON once, when they are new.
{{ config(materialized='incremental', incremental_strategy='append') }}
select
    doc_id,
    file_id,
    position,
    source,
    metadata ->> 'pid' is not null and try_cast(source_id as bigint) is not null as published,
    json_transform(
        metadata -> 'quality_signals',
        '{
            "red_pajama_v2": {
                "ccnet_original_length": "DOUBLE",
                "ccnet_original_nlines": "DOUBLE",
                "rps_doc_num_sentences": "DOUBLE",
                "rps_doc_word_count": "DOUBLE",
                "rps_doc_mean_word_length": "DOUBLE",
                "rps_doc_stop_word_fraction": "DOUBLE",
                "rps_doc_frac_unique_words": "DOUBLE",
                "rps_doc_frac_all_caps_words": "DOUBLE",
                "rps_doc_frac_no_alph_words": "DOUBLE",
                "rps_doc_unigram_entropy": "DOUBLE",
                "rps_doc_curly_bracket": "DOUBLE",
                "rps_doc_symbol_to_word_ratio": "DOUBLE",
                "rps_doc_frac_lines_end_with_ellipsis": "DOUBLE",
                "rps_doc_lorem_ipsum": "DOUBLE",
                "rps_doc_ldnoobw_words": "DOUBLE",
                "rps_doc_ut1_blacklist": "DOUBLE",
                "rps_doc_frac_chars_dupe_5grams": "DOUBLE",
                "rps_doc_frac_chars_dupe_6grams": "DOUBLE",
                "rps_doc_frac_chars_dupe_7grams": "DOUBLE",
                "rps_doc_frac_chars_dupe_8grams": "DOUBLE",
                "rps_doc_frac_chars_dupe_9grams": "DOUBLE",
                "rps_doc_frac_chars_dupe_10grams": "DOUBLE",
                "rps_doc_frac_chars_top_2gram": "DOUBLE",
                "rps_doc_frac_chars_top_3gram": "DOUBLE",
                "rps_doc_frac_chars_top_4gram": "DOUBLE",
                "rps_doc_books_importance": "DOUBLE",
                "rps_doc_books_importance_length_correction": "DOUBLE",
                "rps_doc_openwebtext_importance": "DOUBLE",
                "rps_doc_openwebtext_importance_length_correction": "DOUBLE",
                "rps_doc_wikipedia_importance": "DOUBLE",
                "rps_doc_wikipedia_importance_length_correction": "DOUBLE"
            },
            "fasttext": {
                "dclm": "DOUBLE",
                "english": "DOUBLE",
                "fineweb_edu_approx": "DOUBLE",
                "eai_general_math": "DOUBLE",
                "eai_open_web_math": "DOUBLE",
                "eai_web_code": "DOUBLE"
            }
        }'
    ) as quality_signals
from {{ source('raw', 'occurrences') }}
where json_exists(metadata, '$.quality_signals')
    {%- if is_incremental() %}
    and (file_id, position) not in (select file_id, position from {{ this }})
    {%- endif %}
