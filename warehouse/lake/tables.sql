-- The tables every lake has from the start. Label stores and models come later, as they are needed.
-- Engines other than DuckDB read these Parquet files, so: text for ids (Spark refuses Parquet's UUID), no ENUMs.

create schema if not exists raw;
create schema if not exists labels;
create schema if not exists exports;
create schema if not exists runs;
create schema if not exists cuvee;

-- A distinct text. doc_id = the first 32 hex digits of sha256(text as UTF-8).
create table if not exists raw.documents (
    doc_id varchar not null,
    text varchar not null,
    n_chars bigint not null,
    first_file_id varchar not null
);

-- One place where a text was found.
create table if not exists raw.occurrences (
    doc_id varchar not null,
    source varchar not null,
    url varchar,
    source_id varchar,
    published_at timestamptz,
    licence varchar,
    metadata json,
    file_id varchar not null,
    position bigint not null
);

-- An ingested file. rows = occurrences it gave, of which `duplicates` were texts already known. Of a web archive's
-- other records: not_pages (requests, metadata), other_status than 200, not_html (nor text), empty (without text).
create table if not exists raw.files (
    file_id varchar not null,
    path varchar not null,
    bytes bigint not null,
    checksum varchar not null,
    format varchar not null,
    source varchar not null,
    rows bigint not null,
    duplicates bigint not null,
    rejected bigint not null,
    modified_ns bigint not null,
    ingested_at timestamptz not null,
    not_pages bigint,
    other_status bigint,
    not_html bigint,
    empty bigint
);

-- A record that could not be read, kept as it was found.
create table if not exists raw.rejects (
    file_id varchar not null,
    position bigint not null,
    reason varchar not null,
    raw blob
);

-- A snapshot that something outside the lake still cites: an export, a run. Expiry refuses it.
create table if not exists cuvee.pins (
    snapshot_id bigint not null,
    holder varchar not null,
    pinned_at timestamptz not null
);

-- A trained tokenizer; its files lie in <lake>/tokenizers/<name>/.
create table if not exists cuvee.tokenizers (
    name varchar not null,
    fingerprint varchar not null,
    vocab_size bigint not null,
    trained_on varchar not null,
    documents bigint not null,
    trained_at timestamptz not null
);

-- A mixture written to MDS.
create table if not exists exports.exports (
    export_id varchar not null,
    mixture varchar not null,
    fingerprint varchar not null,
    snapshot_id bigint not null,
    format varchar not null,
    tokenizer varchar,
    sequence_length bigint,
    samples bigint not null,
    tokens bigint,
    path varchar not null,
    manifest json not null,
    exported_at timestamptz not null
);

-- Which documents a sample holds. sample_id counts over all streams of the export, in the manifest's order.
create table if not exists exports.samples (
    export_id varchar not null,
    sample_id bigint not null,
    component varchar not null,
    doc_id varchar not null,
    n_tokens bigint
);

-- A training run.
create table if not exists runs.runs (
    run_id varchar not null,
    recipe varchar not null,
    arm varchar not null,
    seed bigint not null,
    parent_run_id varchar,
    mixture varchar not null,
    export_id varchar not null,
    snapshot_id bigint not null,
    tokens bigint not null,
    config json not null,
    started_at timestamptz not null,
    finished_at timestamptz not null
);

-- A measured value. component is NULL for values of the whole run.
create table if not exists runs.metrics (
    run_id varchar not null,
    name varchar not null,
    component varchar,
    batch bigint not null,
    tokens bigint not null,
    value double not null
);

-- The samples that one rank saw in one batch.
create table if not exists runs.batches (
    run_id varchar not null,
    batch bigint not null,
    rank bigint not null,
    sample_ids bigint[] not null
);

-- A saved state.
create table if not exists runs.checkpoints (
    run_id varchar not null,
    batch bigint not null,
    tokens bigint not null,
    path varchar not null,
    saved_at timestamptz not null
);

-- One build of one node of the project; the last row of a node counts. Written with the table it speaks of.
create table if not exists cuvee.nodes (
    node varchar not null,
    relation varchar not null,
    kind varchar not null,
    status varchar not null,
    fingerprint varchar not null,
    parts json not null,
    sql varchar not null,
    rows bigint,
    seconds double not null,
    built_at timestamptz not null
);
